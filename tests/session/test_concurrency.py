"""Several calls at once, from one program or several."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from gitmachine import ExecutionResult, GitMachine, MachineState, SessionBusy
from tests.session.conftest import Opener, out
from tests.support.git_server import TOKEN, Repository


async def started(gm: GitMachine) -> None:
    """Returns once the command under way has made its mark."""
    async with asyncio.timeout(60):
        while True:
            if "started.txt" in await gm.diff():
                return


async def test_two_git_operations_at_once_on_a_paused_machine_both_succeed(session: Opener) -> None:
    gm = await session()
    await gm.run("echo work > work.txt")
    await gm.pause()
    diff, sha, status = await asyncio.gather(gm.diff("session"), gm.hash(), gm.status())
    assert "work.txt" in diff
    assert status.head == sha
    assert gm.state is MachineState.PAUSED


async def test_a_commit_a_push_and_a_pull_at_once_on_a_paused_machine_all_succeed(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo work > work.txt")
    await gm.pause()
    await gm.resume()
    await gm.run("echo more > more.txt")
    await gm.machine.pause()
    sha, *_ = await asyncio.gather(gm.commit("At once"), gm.push(), gm.pull(), gm.commit("Again"))
    assert (await gm.status()).changes == ()
    await gm.push()
    assert project.git("show", "fix-1:more.txt") == "more"
    assert gm.state is MachineState.PAUSED
    assert sha is None or sha in project.git("log", "--format=%H", "fix-1")


async def test_twenty_commands_with_a_pause_in_the_middle_neither_fail_nor_deadlock(session: Opener) -> None:
    gm = await session()

    async def pause_and_resume() -> None:
        await gm.pause()
        await gm.resume()

    async with asyncio.timeout(100):
        first = [asyncio.create_task(gm.run(f"echo {n} > {n}.txt; echo {n}")) for n in range(10)]
        middle = asyncio.create_task(pause_and_resume())
        last = [asyncio.create_task(gm.run(f"echo {n} > {n}.txt; echo {n}")) for n in range(10, 20)]
        results: list[ExecutionResult] = await asyncio.gather(*first, *last)
        await middle
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(20)]
    assert (await out(gm, "ls *.txt | wc -l")).strip() == "20"


async def test_commands_run_beside_one_another(session: Opener) -> None:
    gm = await session()
    await gm.run("mkfifo pipe")
    async with asyncio.timeout(60):
        read, _ = await asyncio.gather(gm.run("cat pipe"), gm.run("echo through > pipe"))
    assert read.stdout == "through\n"


async def test_a_diff_does_not_wait_for_a_running_command(session: Opener) -> None:
    gm = await session()
    await gm.run("mkfifo ../gate")
    running = asyncio.create_task(gm.run("echo started > started.txt; cat ../gate"))
    async with asyncio.timeout(60):
        await started(gm)
        await gm.run("echo > ../gate")
        assert (await running).exit_code == 0


async def test_who_waits_too_long_for_his_turn_is_told_so(session: Opener, project: Repository) -> None:
    gm = await session()
    # Of the two only this one is in a hurry: the commands wait for one another's captures, too.
    hurried = await GitMachine.connect(gm.machine, project.url, TOKEN, session="fix-1", lock_timeout=0.2)
    await gm.run("mkfifo ../gate")
    running = asyncio.create_task(gm.run("echo > started.txt; cat ../gate"))
    await started(gm)
    with pytest.raises(SessionBusy, match=r"within 0\.2 s"):
        await hurried.commit()
    await gm.run("echo > ../gate")
    await running
    assert await gm.commit() is not None


async def test_two_programs_can_drive_one_session(session: Opener, project: Repository) -> None:
    one = await session()
    two = await GitMachine.connect(one.machine, project.url, TOKEN, session="fix-1")
    await asyncio.gather(*(gm.run(f"echo {n} > {n}.txt") for n, gm in enumerate([one, two, one, two])))
    sha = await two.commit("together")
    assert sha == await one.hash()
    assert (await one.status()).changes == ()
    numbers = [event.seq for event in await one.events()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_cancelled_command_is_dead_and_the_session_goes_on(session: Opener) -> None:
    gm = await session()
    sleep = f"sleep 1000.{secrets.randbelow(10**9)}"  # of this test alone: a machine of ten members shows the host's
    running = asyncio.create_task(gm.run(f"echo > started.txt; {sleep}"))
    await started(gm)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await gm.run(f"pgrep -fx '{sleep}'")).stdout == ""
    assert await gm.commit() is not None
