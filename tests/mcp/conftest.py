"""Servers as their clients have them: in memory, as a process on pipes, as a process behind HTTP."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult, TextContent

from gitmachine.machines.local import LocalMachine
from gitmachine.types import MachineState
from tests.support.git_server import TOKEN, GitServer, Repository
from tests.support.git_server import git_server as git_server

COMMAND = str(Path(sys.executable).with_name("gitmachine-mcp"))
LIMIT_S = 60.0
"""Nothing takes so long, except on a host that has far too much to do."""
ERAS = ("legacy", "2026-07-28")

FILES = {
    "calc.py": "def add(a, b):\n    return a - b\n",
    "test_calc.py": "import calc\n\nassert calc.add(2, 3) == 5, calc.add(2, 3)\nprint('ok')\n",
}


@pytest.fixture
async def state(state_dir: Path) -> AsyncIterator[Path]:
    """A state directory; the machines that a test leaves asleep are ended."""
    yield state_dir
    for machine_id in await LocalMachine.list():
        machine = await LocalMachine.connect(machine_id)
        if machine.state is MachineState.PAUSED:
            await machine.resume()
        await machine.stop()


@pytest.fixture
def project(git_server: GitServer) -> Repository:
    """A repository on a server that asks for a token, with a test that fails."""
    repository = git_server.repository()
    repository.commit("main", FILES, "A calculator")
    return repository


@pytest.fixture
def environment(state: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a server process gets; the test's own process has the token, too, for servers in memory."""
    monkeypatch.setenv("GITMACHINE_TOKEN", TOKEN)
    names = ("PATH", "HOME", "TMPDIR", "GITMACHINE_HOME", "LANG", "GITMACHINE_TOKEN")
    return {name: os.environ[name] for name in names if name in os.environ}


def text(result: CallToolResult) -> str:
    """What a model reads."""
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))


async def ok(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """The data of a call that must succeed."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text(result)
    data: dict[str, Any] | None = result.structured_content
    assert data is not None
    return data


async def refused(client: Client, tool: str, /, **arguments: Any) -> str:
    """The text of a call that must not succeed."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, text(result)
    return text(result)


def on_stdio(environment: dict[str, str], *words: str, **settings: Any) -> Client:
    """A client of a server process of its own."""
    return Client(StdioServerParameters(command=COMMAND, args=list(words), env=environment), **settings)


@dataclass
class HttpServer:
    """A server process behind HTTP."""

    url: str
    process: asyncio.subprocess.Process
    said: list[str] = field(default_factory=list)


@asynccontextmanager
async def over_http(environment: dict[str, str], *words: str) -> AsyncIterator[HttpServer]:
    """Starts the server on a free port; ends it with SIGTERM unless the test did."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, "--http", "--port", "0", *words, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said: list[str] = []
    listener: asyncio.Task[None] | None = None
    try:
        url = await _listening(process, said)
        listener = asyncio.create_task(_listen(process, said))
        yield HttpServer(url, process, said)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(LIMIT_S):
            await process.wait()
            if listener is not None:
                await listener


async def _listening(process: asyncio.subprocess.Process, said: list[str]) -> str:
    """The address that the server says it listens on."""
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT_S):
        while not (found := re.search(r"http://\S+", said[-1] if said else "")):
            line = await process.stderr.readline()
            assert line, "".join(said)
            said.append(line.decode())
    return found.group()


async def _listen(process: asyncio.subprocess.Process, said: list[str]) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        said.append(line.decode())


@asynccontextmanager
async def held(client: Client) -> AsyncIterator[Client]:
    """For fixtures, whose two halves run in different tasks: what the SDK opens must be closed where it was opened."""
    opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    enough = asyncio.Event()

    async def hold() -> None:
        async with client:
            opened.set_result(client)
            await enough.wait()

    holder = asyncio.create_task(hold())
    holder.add_done_callback(lambda ended: opened.done() or opened.cancel())
    try:
        yield await opened
    finally:
        enough.set()
        await holder


async def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Waits for something to come true."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.02)


Connect = Callable[..., AbstractAsyncContextManager[Client]]
