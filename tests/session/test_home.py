"""Bringing a session's work into the user's own checkout."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gitmachine import BranchNotFound, ConfigurationError, GitMachine, GitMachineError, LocalMachine, MergeBlocked
from gitmachine.homecoming import BroughtHome, Options, apply, checkout, merge
from tests.support.git_server import git

Bring = Callable[[Path, str], Awaitable[BroughtHome]]
Opening = Callable[[], Awaitable[GitMachine]]


@dataclass
class Home:
    """A user's checkout of the repository that sessions work on."""

    path: Path

    def git(self, *words: str) -> str:
        return git(*words, cwd=self.path)

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, name: str, text: str) -> None:
        self.write(name, text)
        self.git("add", "--all")
        self.git("commit", "-q", "-m", f"Write {name}")

    @property
    def state(self) -> tuple[str, str, str]:
        """Where HEAD is, what differs from it, and all refs."""
        return self.git("rev-parse", "HEAD"), self.git("status", "--porcelain"), self.git("for-each-ref")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    path = tmp_path / "project"
    path.mkdir()
    git("init", "-q", "-b", "main", cwd=path)
    made = Home(path)
    made.commit("README.md", "# Project\n")
    made.commit("list.txt", "".join(f"line {n}\n" for n in range(20)))
    return made


@pytest.fixture
async def opened(home: Home, state_dir: Path) -> AsyncIterator[Opening]:
    """Starts the session `fix-1` on the checkout."""
    machines = []

    async def start() -> GitMachine:
        machine = LocalMachine()
        machines.append(machine)
        gm = GitMachine(machine, str(home.path), session="fix-1")
        await gm.start()
        return gm

    yield start
    for machine in machines:
        with suppress(GitMachineError):
            await machine.stop()


def names(paths: tuple[bytes, ...]) -> list[str]:
    return [os.fsdecode(path) for path in paths]


# --- apply ------------------------------------------------------------------------------------------------------


async def test_apply_leaves_committed_and_uncommitted_work_as_uncommitted_changes(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt; sed -i 's/line 3$/LINE 3/' list.txt")
    await gm.commit("one")
    await gm.run("echo two > two.txt; rm README.md")
    before = home.git("rev-parse", "HEAD")
    answer = await apply(home.path, "fix-1")
    assert names(answer.changed) == ["README.md", "list.txt", "one.txt", "two.txt"]
    assert home.read("one.txt") == "one\n"
    assert home.read("two.txt") == "two\n"
    assert "LINE 3\n" in home.read("list.txt")
    assert not (home.path / "README.md").exists()
    assert home.git("rev-parse", "HEAD") == answer.head == before
    assert not answer.conflicts


async def test_apply_of_a_session_that_has_ended_needs_no_machine(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    await gm.stop(push=False)
    await apply(home.path, "fix-1")
    assert home.read("one.txt") == "one\n"


async def test_apply_takes_what_nobody_captured_from_a_live_machine(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.machine.execute("echo late > late.txt", None)
    await gm.machine.execute(f"echo late > {gm.path}/late.txt", None)
    await apply(home.path, "fix-1")
    assert home.read("late.txt") == "late\n"


async def test_apply_merges_with_what_the_user_has_committed_since(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("sed -i 's/line 3$/LINE 3/' list.txt")
    home.commit("mine.txt", "mine\n")
    home.commit("list.txt", home.read("list.txt").replace("line 17\n", "LINE 17\n"))
    answer = await apply(home.path, "fix-1")
    assert not answer.conflicts
    assert "LINE 3\n" in home.read("list.txt")
    assert "LINE 17\n" in home.read("list.txt")
    assert home.read("mine.txt") == "mine\n"


async def test_apply_a_second_time_brings_only_what_is_new(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    await gm.commit("one")
    await merge(home.path, "fix-1")
    await gm.run("echo two > two.txt")
    answer = await apply(home.path, "fix-1")
    assert names(answer.changed) == ["two.txt"]
    home.git("commit", "-q", "-m", "two")
    again = await apply(home.path, "fix-1")
    assert not again.conflicts
    assert home.git("status", "--porcelain") == ""


async def test_apply_keeps_out_what_the_guard_withholds_and_names_it(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo work > work.txt; echo TOKEN=abc > .env; git add -f .env")
    answer = await apply(home.path, "fix-1")
    assert [item.path for item in answer.withheld] == [b".env"]
    assert names(answer.changed) == ["work.txt"]
    assert not (home.path / ".env").exists()
    home.git("reset", "-q", "--hard")
    await apply(home.path, "fix-1", Options(allow=(".env",)))
    assert home.read(".env") == "TOKEN=abc\n"


async def test_conflicts_are_named_and_left_as_git_leaves_them_or_undone(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("sed -i 's/line 3$/theirs/' list.txt; echo new > new.txt")
    home.commit("list.txt", home.read("list.txt").replace("line 3\n", "mine\n"))
    home.write("untracked.txt", "untracked\n")
    before = home.state
    restored = await apply(home.path, "fix-1", Options(restore=True))
    assert names(restored.conflicts) == ["list.txt"]
    assert restored.restored
    assert home.state == before
    assert home.read("untracked.txt") == "untracked\n"
    left = await apply(home.path, "fix-1")
    assert names(left.conflicts) == ["list.txt"]
    assert "<<<<<<<" in home.read("list.txt")
    assert home.read("new.txt") == "new\n"


async def test_apply_of_a_session_without_repository_fits_any_checkout(
    home: Home, state_dir: Path, tmp_path: Path
) -> None:
    async with GitMachine(LocalMachine(), session="scratch") as gm:
        await gm.run("echo hello > hello.txt")
    await apply(home.path, "scratch")
    assert home.read("hello.txt") == "hello\n"
    assert home.read("README.md") == "# Project\n"


# --- merge and checkout -----------------------------------------------------------------------------------------


async def test_merge_brings_commits_by_fast_forward(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    sha = await gm.commit("one")
    await gm.run("echo two > two.txt")
    answer = await merge(home.path, "fix-1")
    assert answer.head == sha == home.git("rev-parse", "main")
    assert names(answer.left_behind) == ["two.txt"]
    assert not (home.path / "two.txt").exists()


async def test_merge_makes_a_merge_commit_of_the_users_own(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    sha = await gm.commit("one")
    home.git("config", "user.name", "Me")
    home.git("config", "user.email", "me@example.com")
    home.commit("mine.txt", "mine\n")
    await merge(home.path, "fix-1")
    assert home.git("log", "-1", "--format=%an %s") == "Me Merge GitMachine session 'fix-1'"
    assert home.git("rev-parse", "HEAD^2") == sha


async def test_merge_conflicts_can_be_undone(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("sed -i 's/line 3$/theirs/' list.txt")
    await gm.commit("theirs")
    home.commit("list.txt", home.read("list.txt").replace("line 3\n", "mine\n"))
    before = home.state
    answer = await merge(home.path, "fix-1", Options(restore=True))
    assert names(answer.conflicts) == ["list.txt"]
    assert home.state == before
    left = await merge(home.path, "fix-1")
    assert names(left.conflicts) == ["list.txt"]
    home.git("merge", "--abort")
    assert home.state == before


async def test_merge_refuses_commits_with_what_the_guard_withholds(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo TOKEN=abc > .env; git add -f .env; git commit -qm secret")
    before = home.state
    with pytest.raises(MergeBlocked, match=r"\.env"):
        await merge(home.path, "fix-1")
    assert home.state == before
    await merge(home.path, "fix-1", Options(allow=(".env",)))
    assert home.read(".env") == "TOKEN=abc\n"


async def test_merge_of_nothing_says_what_to_do(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    with pytest.raises(BranchNotFound, match="gitmachine commit fix-1"):
        await merge(home.path, "fix-1")


async def test_checkout_makes_a_branch_and_moves_it_forward(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    await gm.commit("one")
    await checkout(home.path, "fix-1")
    assert home.git("branch", "--show-current") == "fix-1"
    home.git("switch", "-q", "main")
    await gm.run("echo two > two.txt")
    sha = await gm.commit("two")
    answer = await checkout(home.path, "fix-1")
    assert home.git("rev-parse", "fix-1") == answer.head == sha
    assert home.read("two.txt") == "two\n"
    await gm.run("echo three > three.txt")
    await gm.commit("three")
    await checkout(home.path, "fix-1")
    assert home.read("three.txt") == "three\n"


async def test_checkout_leaves_a_branch_that_went_its_own_way(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    await gm.commit("one")
    home.git("switch", "-q", "-c", "fix-1")
    home.commit("mine.txt", "mine\n")
    home.git("switch", "-q", "main")
    before = home.state
    with pytest.raises(MergeBlocked, match="another name"):
        await checkout(home.path, "fix-1")
    assert home.state == before
    await checkout(home.path, "fix-1", branch="theirs")
    assert home.git("branch", "--show-current") == "theirs"


# --- what is refused, and what does not run ---------------------------------------------------------------------


@pytest.mark.parametrize("bring", [apply, merge, checkout])
async def test_a_checkout_with_changes_is_refused_and_left_as_it_is(home: Home, opened: Opening, bring: Bring) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    await gm.commit("one")
    home.write("list.txt", "mine\n")
    before = home.state
    with pytest.raises(MergeBlocked, match=r"not committed.*list\.txt"):
        await bring(home.path, "fix-1")
    assert home.state == before


@pytest.mark.parametrize("bring", [apply, merge, checkout])
async def test_an_untracked_file_in_the_way_is_left_alone(home: Home, opened: Opening, bring: Bring) -> None:
    gm = await opened()
    await gm.run("echo theirs > one.txt")
    await gm.commit("one")
    home.write("one.txt", "mine\n")
    before = home.state
    with pytest.raises(MergeBlocked, match="stand in the way"):
        await bring(home.path, "fix-1")
    assert home.read("one.txt") == "mine\n"
    assert home.state[:2] == before[:2]


async def test_an_unfinished_merge_and_a_place_without_repository_are_refused(
    home: Home, opened: Opening, tmp_path: Path
) -> None:
    await opened()
    (home.path / ".git" / "MERGE_HEAD").write_text(home.git("rev-parse", "HEAD") + "\n")
    with pytest.raises(MergeBlocked, match="a merge is not finished"):
        await apply(home.path, "fix-1")
    with pytest.raises(ConfigurationError, match="no git checkout"):
        await apply(tmp_path, "fix-1")


@pytest.mark.parametrize("bring", [apply, merge, checkout])
async def test_nothing_of_the_session_and_no_program_of_the_configuration_runs(
    home: Home, opened: Opening, tmp_path: Path, bring: Bring
) -> None:
    mark = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {mark}\nexec cat\n')
    program.chmod(0o755)
    for key in ("filter.evil.smudge", "filter.evil.clean", "filter.evil.process", "merge.evil.driver"):
        home.git("config", key, str(program))
    for key in ("core.fsmonitor", "core.editor", "core.pager", "diff.external", "core.sshCommand", "gpg.program"):
        home.git("config", key, str(program))
    home.git("config", "filter.evil.required", "true")
    home.git("config", "commit.gpgSign", "true")
    for hook in ("post-merge", "post-checkout", "pre-merge-commit", "prepare-commit-msg", "reference-transaction"):
        (home.path / ".git" / "hooks").mkdir(exist_ok=True)
        (home.path / ".git" / "hooks" / hook).symlink_to(program)
    gm = await opened()
    await gm.run(
        "echo '* filter=evil merge=evil' > .gitattributes; sed -i 's/line 3$/theirs/' list.txt; echo a > a.txt"
    )
    await gm.commit("one")
    if bring is not checkout:
        git("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "commit", "-q", "--allow-empty", "-m", "x",
            cwd=home.path)  # fmt: skip
    mark.unlink(missing_ok=True)
    answer = await bring(home.path, "fix-1")
    assert not mark.exists(), mark.read_text()
    assert home.read("a.txt") == "a\n"
    assert (b".gitattributes", "git acts on it") in [(item.path, item.reason) for item in answer.look_first]


async def test_files_that_run_by_themselves_are_named(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run(
        "mkdir -p .github/workflows .vscode sub; touch .github/workflows/ci.yml .vscode/tasks.json .envrc sub/Makefile;"
        "ln -s ../../../etc/passwd sub/out; ln -s ../list.txt sub/in; echo : > tool; chmod +x tool; touch plain.txt"
    )
    answer = await apply(home.path, "fix-1")
    assert names(tuple(item.path for item in answer.look_first)) == [
        ".envrc", ".github/workflows/ci.yml", ".vscode/tasks.json", "sub/Makefile", "sub/out", "tool",
    ]  # fmt: skip


async def test_a_tree_that_would_write_into_the_git_directory_does_not_arrive(
    home: Home, opened: Opening, tmp_path: Path
) -> None:
    """The vault would not take such objects; should it ever have some, the fetch refuses them, too."""
    from gitmachine.errors import GitError
    from gitmachine.git.user_checkout import UserCheckout
    from tests.support.git_server import git_bytes
    from tests.support.maker import tree_entry

    evil = tmp_path / "evil.git"
    evil.mkdir()
    git("init", "-q", "--bare", cwd=evil)
    blob = git("hash-object", "-w", "--stdin", cwd=evil, stdin=b"x")
    inner = git_bytes("hash-object", "-t", "tree", "-w", "--literally", "--stdin", cwd=evil,
                      stdin=tree_entry("100755", b"post-checkout", blob)).decode().strip()  # fmt: skip
    tree = git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", cwd=evil,
               stdin=tree_entry("40000", b".GIT", inner))  # fmt: skip
    commit = git("commit-tree", tree, "-m", "evil", cwd=evil)
    git("update-ref", "refs/heads/evil", commit, cwd=evil)
    before = home.state
    with pytest.raises(GitError, match="hasDotgit"):
        async with (await UserCheckout.open(home.path)).received(evil, "refs/heads/evil"):
            pytest.fail("it arrived")
    assert home.state == before


async def test_nothing_stays_in_the_users_refs(home: Home, opened: Opening) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    await gm.commit("one")
    for bring in (apply, merge):
        await bring(home.path, "fix-1")
        home.git("reset", "-q", "--hard", "HEAD")
    assert home.git("for-each-ref", "refs/gitmachine") == ""
