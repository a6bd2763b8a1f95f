"""New sessions from a checkpoint of another one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from gitmachine import ConfigurationError, GitMachine, GitMachineError, LocalMachine, Machine, settings
from gitmachine.forking import compare
from tests.providers.plain import PlainMachine
from tests.session.conftest import MachineMaker, Opener, out, said
from tests.support.git_server import Repository, git


@pytest.fixture
async def forks(state_dir: Path) -> AsyncIterator[list[GitMachine]]:
    """Forks put in here are ended after the test."""
    made: list[GitMachine] = []
    yield made
    for gm in made:
        with suppress(GitMachineError):
            await gm.machine.stop()


async def test_a_fork_begins_with_the_working_tree_of_this_moment_and_goes_its_own_way(
    session: Opener, forks: list[GitMachine], project: Repository
) -> None:
    gm = await session()
    await gm.run("echo base > base; git add base; git commit -qm base; echo loose > loose; rm README.md")
    forks.append(fork := await gm.fork("other"))
    assert await out(fork, "cat base loose; git status --short; git branch --show-current") == (
        "base\nloose\n D README.md\n?? loose\nother"
    )
    await fork.run("echo theirs > base")
    assert await out(gm, "cat base") == "base"
    assert (await fork.stop()).where == "remote"
    assert project.git("show", "other:base") == "theirs"
    (event,) = [event.data() for event in await gm.events() if event.name == "forked"]
    assert event["sessions"] == ["other"]
    assert (await gm.stop()).where == "remote"


async def test_a_fork_from_an_earlier_checkpoint_has_the_branch_of_that_time(
    session: Opener, forks: list[GitMachine]
) -> None:
    gm = await session()
    await gm.run("echo one > file")
    then = await gm.hash()
    await gm.run("git add file; git commit -qm two; echo two > file")
    forks.append(fork := await gm.fork("earlier", at=1))
    assert await out(fork, "cat file; git rev-parse HEAD; git status --short") == f"one\n{then}\n?? file"
    history = await fork.history()
    assert [entry.kind for entry in history] == ["command", "fork", "command"]
    assert history[1].target == 1
    assert (await fork.blame("file"))[0].number == 1
    await fork.rewind(0)
    assert await out(fork, "ls") == "README.md\nsrc"
    assert (await fork.verify()).ok


async def test_several_forks_start_at_once_and_are_compared(session: Opener, forks: list[GitMachine]) -> None:
    gm = await session()
    await gm.run("echo start > file")
    forks += await gm.forks("try", 3)
    assert [fork.session for fork in forks] == ["try-1", "try-2", "try-3"]
    for number, fork in enumerate(forks):
        await fork.run(f"echo {number} > result; echo more >> file")
    found = await compare(forks, check="test $(cat result) = 1")
    assert [row.exit_code for row in found] == [1, 0, 1]
    assert {(row.files, row.insertions, row.deletions) for row in found} == {(2, 2, 0)}
    assert "result" in found[0].summary


@pytest.mark.parametrize(("first", "then"), [(LocalMachine, PlainMachine), (PlainMachine, LocalMachine)])
async def test_a_fork_may_be_on_another_provider(
    session: Opener, forks: list[GitMachine], first: MachineMaker, then: MachineMaker
) -> None:
    gm = await session(machine=first())
    await gm.run("echo committed > a; git add a; git commit -qm a; echo loose > b")
    forks.append(fork := await gm.fork("elsewhere", machine=then()))
    assert await out(fork, "cat a b; git log --format=%s -1; git status --short") == "committed\nloose\na\n?? b"


async def test_a_fork_of_a_session_without_a_remote_is_found_again(
    forks: list[GitMachine], make_machine: MachineMaker
) -> None:
    gm = GitMachine(make_machine(), session="scratch")
    forks.append(gm)
    await gm.start()
    await gm.run("echo one > file")
    forks.append(fork := await gm.fork("scratch-2"))
    again = await GitMachine.connect(fork.machine)
    assert await out(again, "cat file") == "one"
    assert (await again.stop()).where == "vault"


async def test_a_fork_that_cannot_start_leaves_nothing(session: Opener, forks: list[GitMachine]) -> None:
    made: list[Machine] = []

    class Broken(PlainMachine):
        async def start(self) -> None:
            if self is made[2]:
                raise OSError("no more room")
            await super().start()

    def make() -> Machine:
        made.append(Broken())
        return made[-1]

    gm = await session()
    vault = settings.load().vaults / gm.record.vault / "sessions.git"
    await gm.status()  # after which its own refs are all there
    before = git("for-each-ref", cwd=vault)
    with pytest.raises(OSError, match="no more room"):
        await gm.forks("try", 3, machine=make)
    assert {machine.state for machine in made} <= {"idle", "stopped"}
    assert "forked" not in await said(gm)
    assert [path.name for path in settings.load().sessions.iterdir()] == [gm.record.id]
    assert git("for-each-ref", cwd=vault) == before
    assert not list(vault.parent.glob("fork-*"))


async def test_bad_forks_are_refused_before_anything_starts(session: Opener) -> None:
    gm = await session()
    with pytest.raises(ConfigurationError, match="already"):
        await gm.fork("fix-1")
    with pytest.raises(ConfigurationError, match="already"):
        await gm.fork("main")
    with pytest.raises(ConfigurationError):
        await gm.fork("-bad")
    with pytest.raises(ConfigurationError, match="count=0"):
        await gm.forks("none", 0)
