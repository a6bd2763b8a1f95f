"""A session outlives its machine, its program and its remote's presence."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from gitmachine import GitMachine, GitMachineError, LocalMachine, MachineError, MachineState, RemoteUnreachable
from gitmachine.machines.local.layout import Layout
from gitmachine.machines.local.record import MachineRecord
from gitmachine.settings import load
from tests import leaks
from tests.providers.plain import PlainMachine
from tests.session.conftest import MachineMaker, Opener, out
from tests.support.git_server import TOKEN, GitServer, Repository


@pytest.fixture
def make_machine() -> MachineMaker:
    """Every test here says which machines it is about: none is to be run once for each kind."""
    return LocalMachine


@pytest.fixture
async def reopened(state_dir: Path) -> AsyncIterator[list[GitMachine]]:
    """Sessions put in here are ended after the test."""
    made: list[GitMachine] = []
    yield made
    for gm in made:
        with suppress(GitMachineError):
            await gm.machine.stop()


async def kill(gm: GitMachine) -> None:
    """What a crash of the machine does: its first process is gone, and all others with it."""
    assert gm.id is not None
    init = MachineRecord.load(Layout.of(load(), gm.id).record).init.live()
    assert init is not None
    os.kill(init.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while gm.state is not MachineState.STOPPED:
            await asyncio.sleep(0.01)


async def recovered(gm: GitMachine) -> dict[str, object]:
    (event,) = [event.data() for event in await gm.events() if event.name == "recovered"]
    return event


async def test_a_session_whose_machine_died_goes_on_with_everything_that_it_had(
    session: Opener, reopened: list[GitMachine]
) -> None:
    gm = await session(machine=LocalMachine())
    await gm.run(
        "echo committed > a; git add a; git commit -qm a; git checkout -qb side; git commit -q --allow-empty -m s"
    )
    await gm.run("git checkout -q fix-1; echo loose > b; echo staged > c; git add c; rm README.md; git stash list")
    before = await gm.diff("session")
    old = gm.id
    await kill(gm)
    reopened.append(again := await GitMachine.reopen("fix-1", TOKEN, machine=LocalMachine()))
    assert await again.diff("session") == before
    assert await out(again, "git status --short; git log --format=%s -1; git log --format=%s -1 side") == (
        " D README.md\n?? b\n?? c\na\ns"
    )
    event = await recovered(again)
    assert event["machine"] == old
    assert event["captured"] is True
    assert "processes that ran in the machine" in event["not_restored"]  # type: ignore[operator]
    assert old not in os.listdir(load().machines)
    assert [entry.kind for entry in await again.history()] == ["command", "command", "recover", "command"]
    assert (await again.verify()).ok
    assert (await again.stop()).where == "remote"


async def test_not_even_the_command_in_flight_is_lost_when_the_machine_dies(
    session: Opener, reopened: list[GitMachine]
) -> None:
    gm = await session(machine=LocalMachine())
    await gm.run("echo one > finished")
    running = asyncio.ensure_future(gm.run("echo two > unfinished; touch ready; sleep 60"))
    async with asyncio.timeout(20):
        while not await gm.machine.exists(f"{gm.path}/ready"):
            await asyncio.sleep(0.02)
    await kill(gm)
    with pytest.raises(MachineError):
        await running
    reopened.append(again := await GitMachine.reopen("fix-1", TOKEN, machine=LocalMachine()))
    assert await out(again, "cat finished unfinished") == "one\ntwo"
    assert "outside" in [entry.kind for entry in await again.history()]


async def test_a_session_goes_on_with_another_provider(session: Opener, reopened: list[GitMachine]) -> None:
    gm = await session(machine=LocalMachine())
    await gm.run("echo loose > b; ln -s b link; echo x > tool; chmod +x tool")
    await kill(gm)
    reopened.append(again := await GitMachine.reopen("fix-1", TOKEN, machine=PlainMachine()))
    assert await out(again, "cat link; test -x tool && readlink link") == "loose\nb"


async def test_a_machine_without_a_trace_is_told_as_such(session: Opener, reopened: list[GitMachine]) -> None:
    gm = await session(machine=PlainMachine())
    await gm.run("echo loose > b")
    process = await gm.spawn("sleep 100")
    await gm.machine.stop()
    reopened.append(again := GitMachine(LocalMachine(), gm.record.repository, TOKEN, session="fix-1"))
    await again.start()
    assert await out(again, "cat b") == "loose"
    event = await recovered(again)
    assert event["captured"] is False
    assert any("after checkpoint 1" in text for text in event["not_restored"])  # type: ignore[attr-defined]
    (lost,) = [entry for entry in await again.history() if entry.kind == "background"]
    assert (lost.command, lost.exit_code) == ("sleep 100", None)
    assert process.id


async def test_the_vault_is_enough_when_the_remote_is_out_of_reach(
    session: Opener, reopened: list[GitMachine], git_server: GitServer, project: Repository
) -> None:
    gm = await session(machine=LocalMachine())
    await gm.run("echo loose > b")
    await kill(gm)
    git_server.stop()
    try:
        with pytest.raises(RemoteUnreachable):
            await GitMachine(LocalMachine(), project.url, TOKEN, session="unknown").start()
        reopened.append(again := await GitMachine.reopen("fix-1", TOKEN, machine=LocalMachine()))
        assert await out(again, "cat b") == "loose"
        assert [event.data()["offline"] for event in await again.events() if event.name == "started"] == [False, True]
        with pytest.raises(RemoteUnreachable):
            await again.stop()
    finally:
        git_server.start()
    assert (await again.stop()).where == "remote"


async def test_what_is_not_committed_survives_that_the_remote_moved_on(
    session: Opener, reopened: list[GitMachine], project: Repository
) -> None:
    gm = await session(machine=LocalMachine(), auto_commit=False)
    await gm.run("echo one > a")
    await gm.commit("one")
    await gm.push()
    await gm.run("echo loose > b")
    await kill(gm)
    project.commit("fix-1", {"theirs.txt": "theirs\n"})
    reopened.append(again := await GitMachine.reopen("fix-1", TOKEN, machine=LocalMachine()))
    assert await out(again, "cat b; ls") == "loose\nREADME.md\na\nb\nsrc"
    await again.pull()
    assert await out(again, "cat b theirs.txt") == "loose\ntheirs"


async def test_a_session_without_a_remote_goes_on_from_its_vault(reopened: list[GitMachine]) -> None:
    gm = GitMachine(LocalMachine(), session="scratch")
    reopened.append(gm)
    await gm.start()
    await gm.run("echo one > a")
    await gm.commit("one")
    await gm.run("echo loose > b")
    await kill(gm)
    reopened.append(again := await GitMachine.reopen("scratch", machine=LocalMachine()))
    assert await out(again, "cat a b; git log --format=%s") == "one\nloose\none"


async def test_a_live_machine_is_taken_up_and_the_new_one_not_used(session: Opener, reopened: list[GitMachine]) -> None:
    gm = await session(machine=LocalMachine())
    unused = LocalMachine()
    again = await GitMachine.reopen("fix-1", TOKEN, machine=unused)
    assert again.id == gm.id
    assert unused.state is MachineState.IDLE
    await kill(gm)
    with pytest.raises(MachineError):
        await GitMachine.reopen("fix-1", TOKEN)
    reopened.append(await GitMachine.reopen("fix-1", TOKEN, machine=unused))


async def test_stashes_come_back_in_their_order_and_what_cannot_is_named(
    session: Opener, reopened: list[GitMachine]
) -> None:
    gm = await session(machine=LocalMachine())
    await gm.run("echo 1 >> README.md; git stash -q -m first; echo 2 > new; git add new; echo 3 >> README.md")
    await gm.run("git stash -q --include-untracked -m second; git checkout -q --detach; git commit -qm d --allow-empty")
    shown = "git stash list; git stash show --include-untracked --name-only 0; git stash show -p 1"
    before = await out(gm, shown)
    head = await out(gm, "git rev-parse --short=12 HEAD")
    await kill(gm)
    reopened.append(again := await GitMachine.reopen("fix-1", TOKEN, machine=LocalMachine()))
    assert await out(again, shown) == before
    assert await out(again, "git stash pop -q --index; git status --short; git stash list") == (
        " M README.md\nA  new\nstash@{0}: On fix-1: first"
    )
    lost = (await recovered(again))["not_restored"]
    assert any(text.startswith(f"the checkout of {head}") for text in lost)  # type: ignore[attr-defined]
    assert not any(text.startswith("the stash") for text in lost)  # type: ignore[attr-defined]


async def test_what_on_start_did_outside_of_the_checkout_is_done_again(
    session: Opener, reopened: list[GitMachine]
) -> None:
    async def set_up(gm: GitMachine) -> None:
        await gm.run("mkdir ../tools && cp README.md ../tools/; echo made > setup.txt")
        await gm.run("pwd > ../../tools/where", cwd="src", env={"OF_ITS_OWN": "1"})
        await gm.run(f"echo {TOKEN} > ../tools/login")

    gm = await session(machine=LocalMachine(), on_start=set_up)
    await gm.run("echo changed > setup.txt")
    await kill(gm)
    reopened.append(again := await GitMachine.reopen("fix-1", TOKEN, machine=LocalMachine()))
    assert await out(again, "ls ../tools; cat ../tools/where setup.txt") == (
        f"README.md\nwhere\n{again.path}/src\nchanged"
    )
    (event,) = [event.data() for event in await again.events() if event.name == "replayed"]
    assert event["commands"] == [
        {"number": 1, "exit_code": 0, "was": 0},
        {"number": 2, "exit_code": 0, "was": 0, "without": ["OF_ITS_OWN"]},
    ]
    assert (event["skipped"], event["put_back"]) == ([3], ["setup.txt"])
    assert [entry.stage for entry in await again.history()][:3] == ["on_start"] * 3
    assert (await again.verify()).ok
    await kill(again)
    reopened.append(third := await GitMachine.reopen("fix-1", TOKEN, machine=LocalMachine(), replay=False))
    assert await out(third, "ls -d ../tools || cat setup.txt") == "changed"


async def test_a_host_that_was_given_the_state_directory_goes_on(
    session: Opener, reopened: list[GitMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    gm = await session(machine=LocalMachine())
    await gm.run("echo loose > b")
    await gm.detach()
    elsewhere = Path(tempfile.mkdtemp(prefix="state-"))
    elsewhere.chmod(0o711)
    try:
        for part in ("vaults", "sessions"):
            shutil.copytree(load().state_dir / part, elsewhere / part, symlinks=True)
        with monkeypatch.context() as other_host:
            other_host.setenv("GITMACHINE_HOME", str(elsewhere))
            again = await GitMachine.reopen("fix-1", TOKEN, machine=LocalMachine())
            assert await out(again, "cat b") == "loose"
            assert (await recovered(again))["captured"] is False
            assert (await again.stop()).where == "remote"
            await asyncio.to_thread(leaks.wait_for_builders, elsewhere)
    finally:
        await asyncio.to_thread(leaks.remove_tree, elsewhere)
