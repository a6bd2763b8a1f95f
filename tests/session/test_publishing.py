"""Where the work is when something stands between the session and its branch on the remote."""

from __future__ import annotations

import pytest

from gitmachine import (
    AuthenticationFailed,
    GitMachine,
    MachineState,
    MergeBlocked,
    PushHeld,
    PushRejected,
    RemoteUnreachable,
)
from tests.session.conftest import Opener, out, said
from tests.support.git_server import GitServer, Repository, git


async def in_vault(gm: GitMachine, path: str, ref: str = "tip") -> str:
    """A file as the host's vault has it for this session."""
    vault = next((await _state_of(gm)).glob("vaults/*/sessions.git"))
    name = f"refs/gitmachine/sessions/{gm.record.id}/{ref}"
    return git("--git-dir", str(vault), "show", f"{name}:{path}", cwd=vault)


async def _state_of(gm: GitMachine):  # type: ignore[no-untyped-def]
    from gitmachine import settings

    return settings.load().state_dir


async def test_a_rejected_push_is_an_error_the_work_is_in_the_vault_and_the_machine_stays(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo work > work.txt")
    project.reject_pushes("GH006: Protected branch update failed")
    with pytest.raises(PushRejected, match="GH006") as caught:
        await gm.stop()
    assert caught.value.outcome.where == "vault"
    assert await in_vault(gm, "work.txt") == "work"
    assert gm.state is MachineState.RUNNING
    assert "pushed" not in await said(gm)
    assert (await said(gm))[-1] == "push_rejected"
    project.accept_pushes()
    assert (await gm.stop()).where == "remote"
    assert project.git("show", "fix-1:work.txt") == "work"


async def test_when_somebody_else_moved_the_branch_the_work_goes_to_a_rescue_branch(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo one > work.txt")
    await gm.commit()
    await gm.push()
    theirs = project.commit("fix-1", {"theirs.txt": "theirs\n"})
    await gm.run("echo two > work.txt")
    with pytest.raises(PushRejected) as caught:
        await gm.stop()
    rescue = caught.value.outcome
    assert rescue.where == "rescue"
    assert rescue.ref is not None
    assert rescue.ref.startswith("gitmachine-rescue/")
    assert project.git("show", f"{rescue.ref}:work.txt") == "two"
    assert project.heads()["fix-1"] == theirs, "the other's commit is untouched"
    pulled = await gm.pull()
    assert pulled.updated
    assert (await gm.stop()).where == "remote"
    assert project.git("show", "fix-1:work.txt") == "two"
    assert project.git("show", "fix-1:theirs.txt") == "theirs"


async def test_while_the_remote_is_down_nothing_is_called_pushed_and_the_vault_has_the_work(
    session: Opener, git_server: GitServer, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo work > work.txt")
    git_server.stop()
    try:
        with pytest.raises(RemoteUnreachable) as caught:
            await gm.stop()
    finally:
        git_server.start()
    assert caught.value.retryable
    assert "pushed" not in await said(gm)
    assert await in_vault(gm, "work.txt") == "work"
    assert (await gm.stop()).where == "remote"


async def test_a_token_that_expired_is_an_authentication_error_and_the_vault_has_the_work(
    session: Opener, git_server: GitServer
) -> None:
    gm = await session()
    await gm.run("echo work > work.txt")
    git_server.token = "another"
    with pytest.raises(AuthenticationFailed):
        await gm.stop()
    assert await in_vault(gm, "work.txt") == "work"
    outcome = await gm.stop(push=False)
    assert outcome.where == "vault"
    assert gm.state is MachineState.STOPPED


async def test_work_that_could_not_be_pushed_goes_on_in_the_next_session(
    session: Opener, git_server: GitServer, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo work > work.txt")
    project.reject_pushes()
    with pytest.raises(PushRejected):
        await gm.stop()
    await gm.stop(push=False)
    project.accept_pushes()
    again = await session()
    assert await out(again, "cat work.txt") == "work"
    assert (await again.stop()).where == "remote"
    assert project.git("show", "fix-1:work.txt") == "work"


async def test_leaving_the_block_ends_the_machine_also_when_the_push_fails(
    make_machine: object, project: Repository, state_dir: object
) -> None:
    machine = make_machine()  # type: ignore[operator]
    gm = GitMachine(machine, project.url, "gm+te/st:token==7f3a9c41d2", session="ctx")

    async def work() -> None:
        async with gm:
            await gm.run("echo work > work.txt")
            project.reject_pushes()

    with pytest.raises(PushRejected):
        await work()
    assert machine.state is MachineState.STOPPED
    assert await in_vault(gm, "work.txt") == "work"


@pytest.mark.parametrize(
    ("trouble", "files"),
    [
        ("printf '#!/bin/sh\\nexit 1\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit", "work.txt"),
        ("touch .git/index.lock", "work.txt"),
        ("git checkout -q -b elsewhere; echo more > more.txt; git add more.txt; git commit -qm more", "more.txt"),
        ("git checkout -q --detach; echo more > more.txt; git add more.txt; git commit -qm more", "more.txt"),
        ("git checkout -q main 2>/dev/null || git checkout -q -b main origin/main; echo more > more.txt", "more.txt"),
        ("rm -rf .git", "work.txt"),
        ("git config commit.gpgSign true; git config gpg.program /bin/false", "work.txt"),
        ("git commit -q --amend --allow-empty -m amended", "work.txt"),
    ],
    ids=["failing hook", "stale lock", "another branch", "detached", "on main", "no .git", "signing", "amended"],
)
async def test_the_work_reaches_the_session_branch_whatever_the_agent_did_to_its_repository(
    session: Opener, project: Repository, trouble: str, files: str
) -> None:
    gm = await session()
    await gm.run("mkdir -p .git/hooks; echo work > work.txt")
    await gm.run(trouble)
    await gm.pause()
    outcome = await gm.stop()
    assert outcome.where == "remote"
    assert project.git("show", "fix-1:work.txt") == "work"
    assert project.git("show", f"fix-1:{files}")
    assert (await said(gm))[-3:] == ["pushed", "stopping", "stopped"]


@pytest.mark.parametrize("name", ["src", "README.md", "a;id", "a$(id)", "x'y", "ünï", "deep/er/name"])
async def test_a_session_may_be_named_like_a_path_or_like_a_command(
    session: Opener, project: Repository, name: str
) -> None:
    gm = await session(session=name)
    assert await out(gm, "git symbolic-ref HEAD") == f"refs/heads/{name}"
    await gm.run("echo work > work.txt")
    assert (await gm.stop()).where == "remote"
    assert project.git("show", f"refs/heads/{name}:work.txt") == "work"


@pytest.mark.parametrize(
    "message", ['x"; touch pwned; echo "', "$(touch pwned)", "-rf", "two\n\nparts", "ünï ' \\ `id`"]
)
async def test_any_text_is_a_commit_message(session: Opener, message: str) -> None:
    gm = await session()
    await gm.run("echo work > work.txt")
    sha = await gm.commit(message)
    assert await out(gm, "git log -1 --format=%B; ls pwned ../pwned 2>/dev/null; true") == message
    assert sha == await gm.hash()


async def test_a_tag_and_a_branch_of_the_sessions_name_do_not_confuse_it(session: Opener, project: Repository) -> None:
    project.git("tag", "fix-1", "main")
    gm = await session()
    await gm.run("echo work > work.txt")
    await gm.stop()
    assert project.git("show", "refs/heads/fix-1:work.txt") == "work"


async def test_pull_brings_in_what_others_pushed(session: Opener, project: Repository) -> None:
    gm = await session()
    await gm.run("echo mine > mine.txt")
    await gm.commit()
    await gm.push()
    project.commit("fix-1", {"theirs.txt": "theirs\n"})
    outcome = await gm.pull()
    assert outcome.updated
    assert await out(gm, "cat mine.txt theirs.txt") == "mine\ntheirs"
    assert not (await gm.pull()).updated


async def test_a_conflict_is_reported_with_its_files_and_left_as_git_leaves_it(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo mine > README.md")
    await gm.commit()
    await gm.push()
    project.commit("fix-1", {"README.md": "theirs\n"})
    await gm.run("echo again > README.md")
    await gm.commit()
    outcome = await gm.pull()
    assert outcome.conflicts == ("README.md",)
    assert "<<<<<<<" in await gm.read_file("README.md")
    await gm.run("echo both > README.md; git add README.md; git commit -q --no-edit")
    assert (await gm.stop()).where == "remote"


async def test_a_pull_over_changes_that_are_not_committed_is_refused_and_says_what_to_do(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo mine > mine.txt")
    await gm.commit()
    await gm.push()
    project.commit("fix-1", {"README.md": "theirs\n"})
    await gm.run("echo dirty > README.md")
    with pytest.raises(MergeBlocked, match="commit"):
        await gm.pull()
    assert await out(gm, "cat README.md") == "dirty"


async def test_the_guard_keeps_secrets_out_of_commits_and_the_vault_keeps_them(
    session: Opener, project: Repository
) -> None:
    gm = await session(env={"API_KEY": "sk-very-secret-value"})
    await gm.run("echo A=1 > .env; echo sk-very-secret-value > notes.txt; echo fine > fine.txt")
    sha = await gm.commit()
    committed = next(event for event in await gm.events() if event.name == "committed")
    assert {item["path"] for item in committed.data()["withheld"]} == {".env", "notes.txt"}
    assert (await out(gm, f"git show --format= --name-only {sha}")).split() == ["fine.txt"]
    assert await in_vault(gm, ".env", "files") == "A=1"
    await gm.stop()
    assert project.git("ls-tree", "--name-only", "fix-1").split() == ["README.md", "fine.txt", "src"]


async def test_a_path_that_is_named_overrides_the_guard(session: Opener) -> None:
    gm = await session()
    await gm.run("echo A=1 > .env; echo other > other.txt")
    sha = await gm.commit("on purpose", paths=[".env"])
    assert (await out(gm, f"git show --format= --name-only {sha}")).split() == [".env"]


async def test_a_push_that_touches_ci_definitions_is_held_until_it_is_allowed(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    await gm.run("mkdir -p .github/workflows; echo 'on: push' > .github/workflows/ci.yml")
    with pytest.raises(PushHeld) as caught:
        await gm.stop()
    assert caught.value.outcome.held == (".github/workflows/ci.yml",)
    assert "fix-1" not in project.heads()
    assert await in_vault(gm, ".github/workflows/ci.yml") == "on: push"
    assert (await gm.push(allow=[".github/workflows/ci.yml"])).where == "remote"
    await gm.stop()


async def test_without_auto_commit_nothing_is_committed_or_pushed_and_the_vault_has_the_files(
    session: Opener, project: Repository
) -> None:
    gm = await session(auto_commit=False)
    await gm.run("echo work > work.txt")
    await gm.pause()
    await gm.stop()
    assert "fix-1" not in project.heads()
    assert await in_vault(gm, "work.txt", "files") == "work"


async def test_diff_can_be_against_the_head_the_session_a_branch_or_some_paths(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo one > one.txt")
    sha = await gm.commit()
    await gm.run("echo two > two.txt")
    assert "one.txt" not in await gm.diff()
    assert "two.txt" in await gm.diff()
    assert "one.txt" in await gm.diff("session")
    assert "one.txt" in await gm.diff("main", stat=True)
    assert "one.txt" not in await gm.diff(sha or "")
    assert "two.txt" not in await gm.diff("session", paths=["one.txt"])
    with pytest.raises(LookupError, match="no-such"):
        await gm.diff("no-such")
