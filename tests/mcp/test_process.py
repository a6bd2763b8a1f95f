"""The server as a process on pipes: its ends, its silence, and what the next one finds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gitmachine.machines.local import LocalMachine
from gitmachine.types import MachineState
from tests.mcp.conftest import COMMAND, LIMIT_S, ok, on_stdio, refused, until
from tests.mcp.relay import disguises
from tests.support.git_server import TOKEN, Repository

EXIT_LIMIT_S = 3.0


class Wire:
    """A client that knows JSON and lines only, and keeps every byte that it was sent."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.frames: list[dict[str, Any]] = []
        self.raw = b""
        self._count = 0

    async def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        await self.process.stdin.drain()

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request; what comes before it is kept in `frames`."""
        self._count += 1
        number = self._count
        await self.send(id=number, method=method, params=params)
        return await self.answer(number)

    async def answer(self, number: int) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            while True:
                line = await self.process.stdout.readline()
                assert line, "the server ended"
                self.raw += line
                frame = json.loads(line)
                assert frame["jsonrpc"] == "2.0"
                self.frames.append(frame)
                if frame.get("id") == number and "method" not in frame:
                    assert "error" not in frame, frame
                    result: dict[str, Any] = frame["result"]
                    return result

    async def initialize(self) -> None:
        info = {"name": "a-pipe", "version": "1"}
        await self.request("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
        await self.send(method="notifications/initialized")

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.request("tools/call", name=tool, arguments=arguments)
        assert not result.get("isError"), result
        data: dict[str, Any] = result["structuredContent"]
        return data


@asynccontextmanager
async def wire(environment: dict[str, str], *words: str) -> AsyncIterator[Wire]:
    process = await asyncio.create_subprocess_exec(
        COMMAND, *words, env=environment, limit=4 * 1024 * 1024,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        connected = Wire(process)
        await connected.initialize()
        yield connected
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def running_machines() -> list[str]:
    machines = [await LocalMachine.connect(machine_id) for machine_id in await LocalMachine.list()]
    return [str(machine.id) for machine in machines if machine.state is not MachineState.PAUSED]


@pytest.mark.parametrize(
    ("end", "code"), [("input", 0), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
async def test_every_end_makes_the_work_safe_and_is_quick(
    end: str | signal.Signals, code: int, environment: dict[str, str], project: Repository
) -> None:
    async with wire(environment, "--repo", project.url, "--branch", "kept") as server:
        await server.call("files", op="write", path="kept.txt", content="kept")
        await server.call("run", command="sleep 1000", wait_s=0.3)
        await server.send(id=99, method="tools/call", params={"name": "run", "arguments": {"command": "sleep 1000"}})
        await until(lambda: _sleeping(environment) >= 2)
        began = time.monotonic()
        if isinstance(end, str):
            assert server.process.stdin is not None
            server.process.stdin.close()
        else:
            server.process.send_signal(end)
        async with asyncio.timeout(LIMIT_S):
            assert await server.process.wait() == code
        assert time.monotonic() - began < EXIT_LIMIT_S
    assert not await running_machines()
    assert not _sleeping(environment)
    async with on_stdio(environment) as client:
        status = await ok(client, "status")
        assert [found["state"] for found in status["sessions"]] == ["asleep"]
        assert (await ok(client, "run", command="cat kept.txt"))["output"] == "kept"
        await ok(client, "stop")
    assert project.git("show", "kept:kept.txt") == "kept"


def _sleeping(environment: dict[str, str]) -> int:
    """Processes `sleep 1000` in this test's machines: those whose mounts are in its state directory."""
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00":
                found += environment["GITMACHINE_HOME"] in Path(f"/proc/{pid}/mountinfo").read_text()
        except OSError:
            continue
    return found


async def test_a_killed_server_is_no_loss_for_the_next(environment: dict[str, str], project: Repository) -> None:
    async with wire(environment, "--repo", project.url) as server:
        begun = await server.call("run", command="echo precious > work.txt")
        background = await server.call("run", command="echo up; exec sleep 1000", wait_s=0)
        handle = begun["session"]
        server.process.kill()
        await server.process.wait()
    async with on_stdio(environment, "--repo", project.url) as client:
        assert (await ok(client, "run", command="cat work.txt", session=handle))["output"] == "precious\n"
        assert (await ok(client, "run", command="true"))["session"] == handle
        read = await ok(client, "logs", session=handle, command_id=background["command_id"])
        assert (read["output"], read["state"]) == ("up\n", "running")
        await ok(client, "interrupt", session=handle, command_id=background["command_id"])
        assert (await ok(client, "stop"))["where"] == "remote"


async def test_a_handed_over_command_of_a_dead_server_can_still_be_read(
    environment: dict[str, str], project: Repository
) -> None:
    async with wire(environment, "--repo", project.url) as server:
        begun = await server.call("run", command="seq 5000; sleep 1000", wait_s=1)
        assert begun["state"] == "running"
        server.process.kill()
        await server.process.wait()
    async with on_stdio(environment, "--repo", project.url) as client:
        read = await ok(client, "logs", command_id=begun["command_id"], session=begun["session"])
        assert (read["state"], read["more"]) == ("lost", True)
        assert read["output"].startswith("1\n2\n3\n")


async def test_the_token_is_in_no_frame(environment: dict[str, str], project: Repository) -> None:
    async with wire(environment, "--repo", project.url) as server:
        await server.request("logging/setLevel", level="debug")
        handle = (await server.call("run", command="env; cat .git/config; git remote -v; cat /proc/*/environ"))[
            "session"
        ]
        await server.request("resources/subscribe", uri=f"gitmachine://sessions/{handle}/events")
        await server.call("files", op="write", path="a.txt", content="a")
        await server.call("commit", message="Work")
        project.reject_pushes(f"remote: bad credentials {TOKEN}")
        await server.request("tools/call", name="push", arguments={})
        project.accept_pushes()
        await server.call("push")
        await server.call("status", events_after=0)
        await server.request("resources/read", uri=f"gitmachine://sessions/{handle}/events")
        await server.request("tools/call", name="start", arguments={"repo": "http://127.0.0.1:1/nothing.git"})
        await server.call("stop")
        assert server.process.stdin is not None
        server.process.stdin.close()
        rest, errors = await server.process.communicate()
    assert not [form for form in disguises(TOKEN) if form in server.raw + rest + errors]
    assert [
        frame["params"]["data"]["type"] for frame in server.frames if frame.get("method") == "notifications/message"
    ]


async def test_nothing_but_messages_is_on_the_wire_whatever_commands_say(
    environment: dict[str, str], project: Repository
) -> None:
    async with wire(environment, "--repo", project.url) as server:
        ran = await server.call("run", command="echo '{\"jsonrpc\"'; printf '\\n\\n\\r\\n\\033[2J'; echo to stderr >&2")
        assert '{"jsonrpc"\n' in ran["output"]
        await server.call("stop")
        assert server.process.stdin is not None
        server.process.stdin.close()
        rest, _ = await server.process.communicate()
    for line in (server.raw + rest).splitlines():
        json.loads(line)


async def test_a_client_that_does_not_read_delays_nobody(environment: dict[str, str], project: Repository) -> None:
    """Its pipe is full of notifications; another client on the same session goes on at its usual pace."""
    async with wire(environment, "--repo", project.url) as deaf, on_stdio(environment) as client:
        handle = (await deaf.call("run", command="true"))["session"]
        await deaf.request("logging/setLevel", level="debug")
        for number in range(300):
            text = {"name": "run", "arguments": {"command": "head -c 20000 /dev/zero | tr '\\0' x"}}
            if number < 20:
                await deaf.send(id=1000 + number, method="tools/call", params=text)
        usual = []
        for number in range(5):
            await ok(client, "files", session=handle, op="write", path="x.txt", content=str(number))
            began = time.monotonic()
            await ok(client, "commit", session=handle, message="Go on")
            usual.append(time.monotonic() - began)
        assert sorted(usual)[2] < 5.0
        began = time.monotonic()
        deaf.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_S):
            await deaf.process.wait()
        assert time.monotonic() - began < EXIT_LIMIT_S


async def test_a_session_that_is_idle_sleeps_and_wakes_with_the_next_call(
    environment: dict[str, str], project: Repository
) -> None:
    async with on_stdio(environment, "--repo", project.url, "--session-ttl", "1") as client:
        handle = (await ok(client, "run", command="echo there > file.txt; (sleep 3000 >/dev/null 2>&1 &)"))["session"]
        async with asyncio.timeout(LIMIT_S):
            while (await ok(client, "status"))["sessions"][0]["state"] != "asleep":
                await asyncio.sleep(0.2)
        ran = await ok(client, "run", command="cat file.txt; pgrep -c sleep")
        assert (ran["session"], ran["output"]) == (handle, "there\n1\n")


async def test_an_ended_session_goes_on_in_a_new_machine(environment: dict[str, str], project: Repository) -> None:
    async with on_stdio(environment, "--repo", project.url) as client:
        begun = await ok(client, "start", branch="again")
        await ok(client, "files", op="write", path="first.txt", content="1")
        await ok(client, "stop")
        assert "ended" in json.dumps((await ok(client, "status", session=begun["session"]))["sessions"])
        assert "`start`" in await refused(client, "run", command="true", session=begun["session"])
        again = await ok(client, "start", resume=begun["session"])
        assert (again["session"], again["branch"]) == (begun["session"], "again")
        assert (await ok(client, "run", command="cat first.txt"))["output"] == "1"
        assert (await ok(client, "stop"))["where"] in ("remote", "nothing")
