"""Keys, leases, pauses, reconnecting: what E2BMachine promises beyond the contract."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import signal
import sys
from datetime import timedelta
from typing import Any

import pytest

from gitmachine import E2BMachine, GitMachine, MachineState, settings, sweeping
from gitmachine.errors import (
    ConfigurationError,
    MachineLost,
    MachineNotFound,
    MachineUnavailable,
    MachineUnreachable,
    StateError,
)
from gitmachine.machines.e2b import service
from gitmachine.types import ExecuteOptions
from tests.e2b_endpoint import Answer, Delay, Drop, E2BEndpoint, Reset, Stall, at, nothing, on
from tests.support.git_server import TOKEN, Repository


async def test_without_a_key_the_error_says_how_to_get_one_and_nothing_is_sent(
    e2b: E2BEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("E2B_API_KEY")
    e2b.forget()
    for call in (E2BMachine().start(), E2BMachine.connect("i123")):
        with pytest.raises(ConfigurationError, match=r"https://e2b\.dev/dashboard.*E2B_API_KEY"):
            await call
    assert e2b.requests == []


async def test_a_key_that_is_refused_is_said_so(e2b: E2BEndpoint) -> None:
    with pytest.raises(MachineUnavailable, match="E2B_API_KEY"):
        await E2BMachine(api_key="e2b_wrong").start()


async def test_the_seeds_methods_work(e2b: E2BEndpoint) -> None:
    machine = E2BMachine(template="base", timeout=300, envs={"GM_A": "a b"}, metadata={"who": "me"})
    await machine.start()
    try:
        assert machine.get_sandbox_id() == machine.id == machine.get_sandbox().sandbox_id
        assert (await machine.execute("echo $GM_A")).stdout == "a b\n"
        await machine.make_dir("made")
        assert await machine.exists("made")
        await machine.remove("made")
        assert not await machine.exists("made")
        assert await machine.is_running()
        assert str(machine.id) in machine.get_host(3000)
        info = await machine.get_info()
        assert (info.template_id, info.metadata["who"]) == ("base", "me")
        await machine.set_timeout(1000)
        assert (await machine.get_info()).end_at - info.end_at > timedelta(seconds=500)
    finally:
        await machine.stop()
    assert not await machine.is_running()


async def test_a_sandbox_is_found_again_running_or_paused_and_looking_does_not_resume_it(e2b: E2BEndpoint) -> None:
    machine = E2BMachine()
    await machine.start()
    assert machine.id is not None
    running = await E2BMachine.connect(machine.id, api_key=e2b.api_key)
    assert (await running.execute("echo here")).stdout == "here\n"
    await machine.pause()
    paused = await E2BMachine.connect(machine.id)
    assert (paused.state, e2b.sandboxes[machine.id]) == (MachineState.PAUSED, "paused")
    with pytest.raises(StateError, match=r"resume\(\)"):
        await running.execute("true")
    assert running.state is MachineState.PAUSED
    await paused.resume()
    assert (await paused.execute("echo again")).stdout == "again\n"
    await paused.stop()
    with pytest.raises(MachineNotFound):
        await E2BMachine.connect(machine.id)
    with pytest.raises(MachineLost):
        await running.refresh()
    await machine.stop()


async def test_a_command_goes_on_over_a_pause(e2b: E2BEndpoint) -> None:
    machine = E2BMachine()
    await machine.start()
    try:
        began = asyncio.Event()
        options = ExecuteOptions(on_stdout=lambda _: began.set())
        command = asyncio.ensure_future(machine.execute("echo one; sleep 1; echo two; exit 3", options))
        await asyncio.wait_for(began.wait(), 20)
        await machine.pause()
        await machine.resume()
        result = await asyncio.wait_for(command, 20)
        assert (result.exit_code, result.stdout) == (3, "one\ntwo\n")
    finally:
        await machine.stop()


async def test_a_lease_is_extended_while_the_machine_is_held_and_no_longer(e2b: E2BEndpoint) -> None:
    machine = E2BMachine(timeout=2)
    await machine.start()
    sandbox = machine.id
    result = await machine.execute("sleep 3; echo still here")
    assert result.stdout == "still here\n"
    extensions = [request for request in e2b.requests if request.path.endswith(f"{sandbox}/timeout")]
    assert len(extensions) >= 2
    del machine
    gc.collect()  # nobody holds it: its lease must end it
    async with asyncio.timeout(10):
        while sandbox in e2b.sandboxes:
            await asyncio.sleep(0.05)


async def test_a_lease_is_not_asked_for_beyond_the_longest_life(e2b: E2BEndpoint) -> None:
    machine = E2BMachine(timeout=2, max_lifetime=3)
    await machine.start()
    e2b.forget()
    with pytest.raises(MachineLost, match=r"reopen"):
        await machine.execute("sleep 30")
    assert machine.state is MachineState.STOPPED
    asked = [request for request in e2b.requests if request.path.endswith("/timeout")]
    assert 1 <= len(asked) <= 2


async def test_output_is_neither_lost_nor_doubled_when_streams_break_again_and_again(e2b: E2BEndpoint) -> None:
    machine = E2BMachine()
    await machine.start()
    try:
        for bytes_ in (1, 500, 1500):
            e2b.forget()
            e2b.inject(at(0, Drop(bytes_), times=4))
            seen: list[str] = []
            result = await machine.execute(
                r"seq 1 400; printf 'caf\303\251 \377 \360\237\230'; sleep 0.1; printf '\200 end\n'; seq 3 >&2",
                ExecuteOptions(on_stdout=seen.append),
            )
            numbers = "".join(f"{n}\n" for n in range(1, 401))
            assert result.stdout == f"{numbers}café \ufffd 😀 end\n"
            assert "".join(seen) == result.stdout
            assert (result.stderr, result.exit_code) == ("1\n2\n3\n", 0)
            assert len(e2b.requests) >= 2
    finally:
        e2b.inject(nothing)
        await machine.stop()


async def test_a_command_whose_request_was_sent_twice_runs_once(e2b: E2BEndpoint) -> None:
    machine = E2BMachine()
    await machine.start()
    try:
        e2b.inject(on("POST", "/process.Process/Start", Reset("after")))
        result = await machine.execute("echo x >>times; cat times")
        assert result.stdout == "x\n"
    finally:
        await machine.stop()


async def test_an_answer_to_create_that_is_lost_makes_no_second_sandbox(e2b: E2BEndpoint) -> None:
    made = e2b.created
    e2b.inject(on("POST", "/v2/sandboxes", Reset("after")))
    machine = E2BMachine()
    await machine.start()
    assert e2b.created == made + 1
    await machine.stop()


async def test_a_limit_on_new_sandboxes_is_waited_for(e2b: E2BEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    made = e2b.created
    monkeypatch.setattr(service, "pause_before", lambda attempt: 0.01)
    busy = Answer(429, headers={"Retry-After": "0"})
    e2b.inject(on("POST", "/v2/sandboxes", busy, times=5 * service.ATTEMPTS))
    machine = E2BMachine()
    await machine.start()
    await machine.stop()
    assert e2b.created == made + 1


async def test_a_start_that_is_cancelled_leaves_no_sandbox(e2b: E2BEndpoint) -> None:
    e2b.inject(on("POST", "/v2/sandboxes", Delay(0.5)))
    start = asyncio.ensure_future(E2BMachine().start())
    async with asyncio.timeout(10):
        while not any(request.path.endswith("/v2/sandboxes") for request in e2b.requests):
            await asyncio.sleep(0.01)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert e2b.sandboxes == {}


async def test_a_service_that_does_not_answer_is_unreachable_and_not_gone(e2b: E2BEndpoint) -> None:
    machine = E2BMachine(request_timeout=0.2)
    await machine.start()
    assert machine.id is not None
    e2b.inject(lambda request: Stall() if request.method == "GET" else None)
    with pytest.raises(MachineUnreachable) as raised:
        await machine.refresh()
    assert raised.value.retryable
    assert machine.state is MachineState.RUNNING
    e2b.inject(nothing)
    await machine.stop()


async def test_a_template_without_what_is_needed_is_said_so(e2b: E2BEndpoint) -> None:
    e2b.inject(on("POST", "/v2/sandboxes", Answer(404, "template 'no-such-template' not found")))
    with pytest.raises(MachineUnavailable, match="no-such-template"):
        await E2BMachine(template="no-such-template").start()


async def test_gc_finds_the_sandboxes_that_nobody_holds_and_keeps_their_work(
    e2b: E2BEndpoint, project: Repository
) -> None:
    where = settings.load()
    held = GitMachine(E2BMachine(), project.url, TOKEN, session="held")
    await held.start()
    await held.run("echo work >file")
    await held.pause()
    stray: Any = E2BMachine()
    await stray.start()
    assert await sweeping.examine(where) == ()
    plan = await sweeping.examine(where, timedelta(seconds=0))
    assert {item.name: item.act.name for item in plan} == {held.id: "STOP", stray.id: "REMOVE"}
    done = [item async for item in sweeping.collect(where, plan)]
    assert all(item.done for item in done), done
    assert e2b.sandboxes == {}
    again = await GitMachine.reopen("held", TOKEN, machine=E2BMachine())
    assert await again.read_file("file") == "work\n"
    await again.stop()
    await stray.aclose()
    await held.machine.aclose()


async def test_a_large_repository_goes_in_in_four_requests(e2b: E2BEndpoint, project: Repository) -> None:
    project.commit("main", {f"big-{n}": os.urandom(700_000) for n in range(10)})
    e2b.forget()
    gm = GitMachine(E2BMachine(), project.url, TOKEN, session="fix-1")
    await gm.start()
    assert len(e2b.requests) == 4
    assert (await gm.run("ls big-* | wc -l; head -c 800000 /dev/urandom >new")).stdout == "10\n"
    await gm.stop()
    assert int(project.git("cat-file", "-s", "fix-1:new")) == 800_000


async def test_a_large_file_comes_out_whole_when_its_connection_breaks(e2b: E2BEndpoint) -> None:
    machine = E2BMachine()
    await machine.start()
    try:
        await machine.execute("head -c 4000000 /dev/urandom >out")
        e2b.inject(on("GET", "/files", Drop(2_000_000)))
        pieces = [piece async for piece in machine.read_chunks("out")]
        assert len(pieces) > 1
        digest = hashlib.sha256(b"".join(pieces)).hexdigest()
        assert (await machine.execute("sha256sum <out")).stdout.split()[0] == digest
    finally:
        await machine.stop()


async def test_commands_side_by_side_that_each_leave_much_are_all_captured(e2b: E2BEndpoint, gm: GitMachine) -> None:
    await asyncio.gather(*(gm.run(f"head -c 700000 /dev/urandom >file-{n}") for n in range(4)))
    assert len((await gm.diff(stat=True)).splitlines()) == 5


HOLDER = """
import asyncio
from gitmachine import E2BMachine, GitMachine

async def main():
    async with GitMachine(E2BMachine(timeout=2), session="held") as gm:
        await gm.run("echo running; sleep 600", on_stdout=lambda text: print(text, flush=True))

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_program_that_is_ended_leaves_at_most_what_its_lease_ends(
    number: signal.Signals, e2b: E2BEndpoint
) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert program.stdout is not None
    async with asyncio.timeout(30):
        assert await program.stdout.readline() == b"running\n"
        program.send_signal(number)
        await program.communicate()
        while e2b.sandboxes:
            await asyncio.sleep(0.05)
