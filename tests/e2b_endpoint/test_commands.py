"""Commands, by the unmodified SDK."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from e2b import (
    AsyncSandbox,
    AuthenticationException,
    CommandExitException,
    InvalidArgumentException,
    NotFoundException,
    PtySize,
    TimeoutException,
)

from tests.e2b_endpoint import E2BEndpoint

LIMIT_S = 30.0
DEADLINES_S = (0.3, 1.0, 4.0, 16.0)
"""The first that is long enough for a command to begin on this host."""


async def gone(sandbox: AsyncSandbox, pid: int) -> None:
    """Waits until a process of the sandbox has ended."""
    await sandbox.commands.run(f"while kill -0 {pid} 2>/dev/null; do sleep 0.01; done", timeout=LIMIT_S)


async def test_a_command_gives_its_outputs_and_takes_one_request(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    result = await sandbox.commands.run("echo out; echo err >&2; pwd; id -un")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n/home/user\nuser\n", "err\n", 0)
    assert [request.name for request in endpoint.requests] == ["POST /process.Process/Start"]


async def test_a_non_zero_exit_is_told_with_both_outputs(sandbox: AsyncSandbox) -> None:
    with pytest.raises(CommandExitException) as failed:
        await sandbox.commands.run("echo out; echo err >&2; exit 7")
    error = failed.value
    assert (error.exit_code, error.stdout, error.stderr, error.error) == (7, "out\n", "err\n", "exit status 7")


async def test_a_command_that_a_signal_ends_has_no_exit_code(sandbox: AsyncSandbox) -> None:
    with pytest.raises(CommandExitException) as failed:
        await sandbox.commands.run("kill -KILL $$")
    assert (failed.value.exit_code, failed.value.error) == (-1, "signal: killed")


async def test_a_command_sees_the_sandbox_s_environment_and_its_own(endpoint: E2BEndpoint) -> None:
    sandbox = await AsyncSandbox.create(envs={"A": "of all", "B": "of all"})
    result = await sandbox.commands.run(
        'echo "$A $B $E2B_SANDBOX $E2B_SANDBOX_ID $PATH"', envs={"B": "its own"}, cwd="/tmp"
    )
    path = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"  # of /etc/profile: the shell is a login shell
    assert result.stdout == f"of all its own true {sandbox.sandbox_id} {path}\n"


async def test_output_comes_while_the_command_runs(sandbox: AsyncSandbox) -> None:
    heard = asyncio.Event()
    handle = await sandbox.commands.run(
        "echo first; until [ -e go ]; do sleep 0.01; done; echo second",
        background=True,
        timeout=0,
        on_stdout=lambda _: heard.set(),
    )
    waiting = asyncio.create_task(handle.wait())
    async with asyncio.timeout(LIMIT_S):
        await heard.wait()
        assert not waiting.done()
        await sandbox.files.write("go", "")
        assert (await waiting).stdout == "first\nsecond\n"


async def test_a_command_has_ended_when_nobody_holds_its_pipes(sandbox: AsyncSandbox) -> None:
    handle = await sandbox.commands.run(
        "(until [ -e go ]; do sleep 0.01; done; echo child) & echo parent", background=True, timeout=0
    )
    waiting = asyncio.create_task(handle.wait())
    await gone(sandbox, handle.pid)
    assert not waiting.done()
    await sandbox.files.write("go", "")
    async with asyncio.timeout(LIMIT_S):
        assert (await waiting).stdout == "parent\nchild\n"


async def test_a_kill_ends_a_command_at_once_and_spares_its_children(sandbox: AsyncSandbox) -> None:
    heard = asyncio.Event()
    handle = await sandbox.commands.run(
        "sleep 1000 & echo $!; wait", background=True, timeout=0, on_stdout=lambda _: heard.set()
    )
    waiting = asyncio.create_task(handle.wait())
    async with asyncio.timeout(LIMIT_S):
        await heard.wait()
        assert await handle.kill()
        with pytest.raises(CommandExitException) as failed:
            await waiting
    assert failed.value.exit_code == -1
    await sandbox.commands.run(f"kill -0 {failed.value.stdout}")  # still there
    assert await sandbox.commands.kill(handle.pid) is False


async def test_a_deadline_kills_the_command_s_leader_alone(sandbox: AsyncSandbox) -> None:
    for deadline_s in DEADLINES_S:
        with pytest.raises(TimeoutException):
            await sandbox.commands.run("echo $$ > leader; sleep 1000 & echo $! > child; wait", timeout=deadline_s)
        if (await sandbox.commands.run("cat child || true")).stdout:
            break
    await gone(sandbox, int(await sandbox.files.read("leader")))
    await sandbox.commands.run('kill -0 "$(cat child)"')


async def test_a_command_s_deadline_holds_without_its_client(sandbox: AsyncSandbox) -> None:
    for deadline_s in DEADLINES_S:
        with suppress(TimeoutException):
            handle = await sandbox.commands.run("sleep 1000", background=True, timeout=deadline_s)
            break
    await handle.disconnect()
    await gone(sandbox, handle.pid)


async def test_stdin_is_sent_and_closed(sandbox: AsyncSandbox) -> None:
    handle = await sandbox.commands.run("cat; echo end", background=True, stdin=True, timeout=0)
    await sandbox.commands.send_stdin(handle.pid, "a\n")
    async with sandbox.commands.stream_input(handle.pid) as stdin:
        await stdin.send("b\n")
        await stdin.send("c\n")
    await sandbox.commands.close_stdin(handle.pid)
    assert (await handle.wait()).stdout == "a\nb\nc\nend\n"


async def test_without_stdin_there_is_nothing_to_read(sandbox: AsyncSandbox) -> None:
    assert (await sandbox.commands.run("cat; echo end")).stdout == "end\n"


async def test_who_reconnects_hears_what_comes_from_then_on(sandbox: AsyncSandbox) -> None:
    heard = asyncio.Event()
    command = "echo early; until [ -e go ]; do sleep 0.01; done; echo late; exit 3"
    handle = await sandbox.commands.run(command, background=True, timeout=0, on_stdout=lambda _: heard.set())
    reading = asyncio.create_task(handle.wait())
    async with asyncio.timeout(LIMIT_S):
        await heard.wait()
    await handle.disconnect()
    await asyncio.gather(reading, return_exceptions=True)
    again = await sandbox.commands.connect(handle.pid, timeout=0)
    await sandbox.files.write("go", "")
    with pytest.raises(CommandExitException) as failed:
        await again.wait()
    assert (failed.value.stdout, failed.value.exit_code) == ("late\n", 3)


async def test_the_exit_code_of_an_ended_command_is_kept_for_a_while(sandbox: AsyncSandbox) -> None:
    handle = await sandbox.commands.run("echo x; exit 5", background=True, timeout=0)
    await handle.disconnect()
    await gone(sandbox, handle.pid)
    late = await sandbox.commands.connect(handle.pid)
    with pytest.raises(CommandExitException) as failed:
        await late.wait()
    assert (failed.value.exit_code, failed.value.stdout) == (5, "")
    with pytest.raises(NotFoundException):
        await sandbox.commands.connect(99999)


async def test_pids_are_those_seen_inside(sandbox: AsyncSandbox) -> None:
    handle = await sandbox.commands.run(
        "echo $$; until [ -e go ]; do sleep 0.01; done", background=True, envs={"A": "b"}
    )
    (listed,) = await sandbox.commands.list()
    assert (listed.pid, listed.cmd, listed.envs) == (handle.pid, "/bin/bash", {"A": "b"})
    await sandbox.files.write("go", "")
    assert (await handle.wait()).stdout == f"{handle.pid}\n"
    assert await sandbox.commands.list() == []


async def test_a_session_of_its_own_can_be_killed_by_the_command_s_pid(sandbox: AsyncSandbox) -> None:
    handle = await sandbox.commands.run("exec setsid bash -c 'sleep 1000 & sleep 1000'", background=True, timeout=0)
    waiting = asyncio.create_task(handle.wait())
    await sandbox.commands.run(f"until kill -KILL -- -{handle.pid} 2>/dev/null; do sleep 0.01; done", timeout=LIMIT_S)
    with pytest.raises(CommandExitException):
        await waiting
    assert (await sandbox.commands.run("pgrep -c sleep || true")).stdout == "0\n"


@pytest.mark.parametrize(
    ("options", "error"),
    [({"cwd": "/nowhere"}, InvalidArgumentException), ({"user": "nobody"}, AuthenticationException)],
)
async def test_what_cannot_be_started_is_refused(
    sandbox: AsyncSandbox, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await sandbox.commands.run("true", **options)


async def test_large_output_comes_whole(sandbox: AsyncSandbox) -> None:
    result = await sandbox.commands.run("seq 400000")
    assert result.stdout == "".join(f"{number}\n" for number in range(1, 400001))


async def test_commands_of_one_sandbox_run_side_by_side(sandbox: AsyncSandbox) -> None:
    results = await asyncio.gather(*(sandbox.commands.run(f"echo {number}") for number in range(20)))
    assert [result.stdout for result in results] == [f"{number}\n" for number in range(20)]


async def test_cancelled_commands_leave_no_stream_open_also_across_a_pause(
    endpoint: E2BEndpoint, sandbox: AsyncSandbox
) -> None:
    async def cancelled(after_s: float) -> None:
        running = asyncio.create_task(sandbox.commands.run("sleep 1000"))
        await asyncio.wait([running], timeout=after_s)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    for _ in range(3):
        stops = [cancelled(number / 200) for number in range(6)]
        await asyncio.gather(*stops, sandbox.pause())
        await sandbox.connect()
    async with asyncio.timeout(LIMIT_S):
        while endpoint.open_streams:
            await asyncio.sleep(0.01)
    assert (await sandbox.commands.run("echo whole")).stdout == "whole\n"


async def test_a_terminal_has_a_size_and_takes_keys(sandbox: AsyncSandbox) -> None:
    shown = bytearray()
    terminal = await sandbox.pty.create(PtySize(rows=24, cols=80), on_data=shown.extend, timeout=0)
    await sandbox.pty.resize(terminal.pid, PtySize(rows=33, cols=99))
    await sandbox.pty.send_stdin(terminal.pid, b"stty size; exit 4\n")
    with pytest.raises(CommandExitException) as failed:
        await terminal.wait()
    assert failed.value.exit_code == 4
    assert b"33 99" in shown
