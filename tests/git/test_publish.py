"""Publishing: each way it can end, and where the work is then (isolation facts, table of outcomes)."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gitmachine.errors import AuthenticationFailed, PushHeld, PushRejected, RemoteUnreachable, RepositoryNotFound
from gitmachine.git.guard import Guard
from gitmachine.git.publish import PublishRequest, publish
from gitmachine.git.vault import Vault
from tests.git.conftest import OpenVault
from tests.support.git_server import TOKEN, GitServer, Repository
from tests.support.maker import Maker

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SESSION = "refs/gitmachine/sessions/s1"


def request(sha: str, expected: str | None = None, branch: str = "work") -> PublishRequest:
    return PublishRequest(session_id="s1", branch=branch, sha=sha, expected=expected, guard=Guard(), time=WHEN)


@pytest.fixture
async def tip(vault: Vault, maker: Maker) -> str:
    """A commit on top of main, in the vault."""
    sha = maker.commit({"work.txt": "done"})
    await vault.receive(maker.pack(sha), {f"{SESSION}/tip": sha})
    return sha


def rescue_branch(sha: str) -> str:
    return f"gitmachine-rescue/s1/20260102T030405Z-{sha[:10]}"


@pytest.mark.parametrize("branch", ["work", "a;id", "$(id)", "ünï/cödé", "main.x", "v1"])
async def test_a_new_branch_is_pushed(vault: Vault, project: Repository, tip: str, branch: str) -> None:
    project.git("tag", "v1", "main")
    outcome = await publish(vault, request(tip, branch=branch))
    assert (outcome.where, outcome.sha, outcome.ref) == ("remote", tip, branch)
    assert project.heads()[branch] == tip


async def test_a_branch_moves_forward(vault: Vault, project: Repository, maker: Maker, tip: str) -> None:
    await publish(vault, request(tip))
    later = maker.commit({"work.txt": "better"})
    await vault.receive(maker.pack(later), {f"{SESSION}/tip": later})
    assert (await publish(vault, request(later, expected=tip))).where == "remote"
    assert project.heads()["work"] == later
    assert (await publish(vault, request(later, expected=later))).where == "nothing"


async def test_a_branch_that_has_the_commit_already_is_a_success(vault: Vault, tip: str) -> None:
    await publish(vault, request(tip))
    assert (await publish(vault, request(tip))).where == "remote"


async def test_the_first_push_makes_a_branch_in_an_empty_repository(
    git_server: GitServer, open_vault: OpenVault, maker: Maker
) -> None:
    empty = git_server.empty("empty")
    vault = await open_vault(empty)
    await vault.fetch()
    tip = maker.commit({"a": "b"})
    await vault.receive(maker.pack(tip, whole=True), {f"{SESSION}/tip": tip})
    assert (await publish(vault, request(tip, branch="main"))).where == "remote"
    assert empty.heads() == {"main": tip}


async def test_somebody_elses_commit_stays_and_the_work_is_rescued(
    vault: Vault, project: Repository, maker: Maker, tip: str
) -> None:
    await publish(vault, request(tip))
    other = project.commit("work", {"other": "x"})
    later = maker.commit({"work.txt": "better"})
    await vault.receive(maker.pack(later), {f"{SESSION}/tip": later})
    with pytest.raises(PushRejected, match="pull") as caught:
        await publish(vault, request(later, expected=tip))
    outcome = caught.value.outcome
    assert (outcome.where, outcome.sha, outcome.ref) == ("rescue", later, rescue_branch(later))
    assert project.heads() == {**project.heads(), "work": other, rescue_branch(later): later}


async def test_a_branch_that_should_not_exist_is_left_alone(vault: Vault, project: Repository, tip: str) -> None:
    other = project.commit("work", {"other": "x"})
    with pytest.raises(PushRejected) as caught:
        await publish(vault, request(tip))
    assert caught.value.outcome.where == "rescue"
    assert project.heads()["work"] == other


async def test_a_push_that_nobody_lived_to_note_is_not_in_the_way_of_the_next(
    vault: Vault, project: Repository, maker: Maker, tip: str
) -> None:
    await publish(vault, request(tip))
    middle = maker.commit({"work.txt": "better"})
    later = maker.commit({"work.txt": "best"})
    await vault.receive(maker.pack(later), {f"{SESSION}/tip": later})
    assert (await publish(vault, request(middle))).where == "remote"
    assert (await publish(vault, request(later, expected=tip))).where == "remote"
    assert project.heads()["work"] == later


async def test_a_branch_that_somebody_moved_back_stays_there(
    vault: Vault, project: Repository, maker: Maker, tip: str
) -> None:
    await publish(vault, request(tip))
    project.git("update-ref", "refs/heads/work", "main")
    later = maker.commit({"work.txt": "better"})
    await vault.receive(maker.pack(later), {f"{SESSION}/tip": later})
    with pytest.raises(PushRejected):
        await publish(vault, request(later, expected=tip))
    assert project.heads()["work"] == project.heads()["main"]


async def test_a_rewrite_is_never_pushed(vault: Vault, project: Repository, maker: Maker, tip: str) -> None:
    await publish(vault, request(tip))
    maker.git("reset", "--hard", "-q", "origin/main")
    rewritten = maker.commit({"work.txt": "as if it had always been so"})
    await vault.receive(maker.pack(rewritten), {f"{SESSION}/tip": rewritten})
    with pytest.raises(PushRejected) as caught:
        await publish(vault, request(rewritten, expected=tip))
    assert caught.value.outcome.where == "rescue"
    assert project.heads()["work"] == tip


async def test_a_branch_that_was_deleted_meanwhile_is_not_made_again(
    vault: Vault, project: Repository, maker: Maker, tip: str
) -> None:
    await publish(vault, request(tip))
    project.git("update-ref", "-d", "refs/heads/work")
    later = maker.commit({"work.txt": "better"})
    await vault.receive(maker.pack(later), {f"{SESSION}/tip": later})
    with pytest.raises(PushRejected) as caught:
        await publish(vault, request(later, expected=tip))
    assert caught.value.outcome.where == "rescue"


async def test_an_expected_commit_that_the_vault_never_saw_is_a_rejection(vault: Vault, tip: str) -> None:
    with pytest.raises(PushRejected):
        await publish(vault, request(tip, expected="1" * 40))


async def test_a_protected_remote_leaves_the_work_in_the_vault_with_its_words(
    vault: Vault, project: Repository, tip: str
) -> None:
    project.reject_pushes("GH006: Protected branch update failed")
    with pytest.raises(PushRejected, match="GH006") as caught:
        await publish(vault, request(tip))
    outcome = caught.value.outcome
    assert (outcome.where, outcome.ref) == ("vault", f"{SESSION}/push")
    assert "GH006: Protected branch update failed" in (outcome.reason or "")
    assert await vault.resolve(f"{SESSION}/push") == tip
    assert list(project.heads()) == ["main"]


async def test_only_the_session_branch_protected_means_a_rescue_branch(
    vault: Vault, project: Repository, tip: str
) -> None:
    project.hook("update", 'case "$1" in refs/heads/work) echo no pushes here; exit 1;; esac')
    with pytest.raises(PushRejected, match="no pushes here") as caught:
        await publish(vault, request(tip))
    assert caught.value.outcome.where == "rescue"
    assert project.heads()[rescue_branch(tip)] == tip


async def test_a_refusal_is_asked_once(vault: Vault, project: Repository, git_server: GitServer, tip: str) -> None:
    project.reject_pushes()
    git_server.requests.clear()
    with pytest.raises(PushRejected):
        await publish(vault, request(tip))
    posts = [r for r in git_server.requests if r.method == "POST" and r.path.endswith("git-receive-pack")]
    assert len(posts) == 2, "the branch and the rescue branch"


async def test_a_wrong_token_fails_at_once_and_keeps_the_work(vault: Vault, git_server: GitServer, tip: str) -> None:
    git_server.token = "another"
    with pytest.raises(AuthenticationFailed, match="safe in the vault") as caught:
        await publish(vault, request(tip))
    assert await vault.resolve(f"{SESSION}/push") == tip
    assert TOKEN not in str(caught.value)


async def test_a_remote_that_is_down_is_reported_with_where_the_work_is(
    vault: Vault, git_server: GitServer, tip: str
) -> None:
    git_server.stop()
    with pytest.raises(RemoteUnreachable, match="safe in the vault") as caught:
        await publish(vault, request(tip))
    assert caught.value.outcome is not None
    assert (caught.value.outcome.where, caught.value.outcome.ref) == ("vault", f"{SESSION}/push")
    git_server.start()
    assert (await publish(vault, request(tip))).where == "remote"


async def test_a_short_outage_is_bridged(vault: Vault, git_server: GitServer, tip: str) -> None:
    git_server.stop()
    asyncio.get_running_loop().call_later(0.6, git_server.start)
    assert (await publish(vault, request(tip))).where == "remote"


async def test_a_connection_that_breaks_after_the_deed_is_a_success(
    vault: Vault, project: Repository, git_server: GitServer, tip: str
) -> None:
    git_server.break_after.append("git-receive-pack")
    assert (await publish(vault, request(tip))).where == "remote"
    assert project.heads()["work"] == tip


async def test_a_repository_that_is_gone_is_said(vault: Vault, project: Repository, tip: str) -> None:
    project.path.rename(project.path.with_name("elsewhere.git"))
    with pytest.raises(RepositoryNotFound, match="safe in the vault"):
        await publish(vault, request(tip))


async def test_a_push_that_touches_ci_is_held_until_allowed(vault: Vault, project: Repository, maker: Maker) -> None:
    tip = maker.commit({".github/workflows/ci.yml": "on: push", "a": "b"})
    await vault.receive(maker.pack(tip), {f"{SESSION}/tip": tip})
    with pytest.raises(PushHeld, match="workflows/ci") as caught:
        await publish(vault, request(tip))
    assert caught.value.outcome.held == (".github/workflows/ci.yml",)
    assert caught.value.outcome.where == "vault"
    assert list(project.heads()) == ["main"]
    allowed = replace(request(tip), allow=(".github/workflows/ci.yml",))
    assert (await publish(vault, allowed)).where == "remote"


async def test_the_token_in_a_commit_holds_the_push(vault: Vault, project: Repository, maker: Maker) -> None:
    tip = maker.commit({"config": f"password = {TOKEN}\n"})
    await vault.receive(maker.pack(tip), {f"{SESSION}/tip": tip})
    with pytest.raises(PushHeld):
        await publish(vault, request(tip))
    assert list(project.heads()) == ["main"]


async def test_a_large_push_arrives(vault: Vault, project: Repository, maker: Maker) -> None:
    tip = maker.commit({"noise": random.Random(4).randbytes(3_000_000)})
    await vault.receive(maker.pack(tip), {f"{SESSION}/tip": tip})
    assert (await publish(vault, request(tip))).where == "remote"
    project.git("fsck", "--strict")


async def test_no_remote_means_the_vault(vault: Vault, tip: str) -> None:
    vault.remote = None
    outcome = await publish(vault, request(tip))
    assert (outcome.where, outcome.ref) == ("vault", f"{SESSION}/push")
