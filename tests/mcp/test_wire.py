"""What ends a command from the client's side, in every era and transport, and what a recorded wire holds."""

from __future__ import annotations

import asyncio
import base64
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from tests.mcp.conftest import ERAS, ok, on_stdio, over_http, refused, until
from tests.mcp.relay import Plain, disguises, new, old, relay
from tests.mcp.test_http import ALICE, caller
from tests.mcp.test_process import _sleeping
from tests.support.git_server import TOKEN, Repository

TREE = {"command": "sleep 1000 & setsid sleep 1000 & wait"}
"""A child, and a grandchild in a session of its own."""


@asynccontextmanager
async def connected(transport: str, environment: dict[str, str], project: Repository) -> AsyncIterator[list[Client]]:
    """A client of each era: over HTTP of the same server, on stdio each of a process of its own."""
    async with AsyncExitStack() as stack:
        if transport == "stdio":
            clients = [on_stdio(environment, "--repo", project.url, mode=era) for era in ERAS]
            yield [await stack.enter_async_context(client) for client in clients]
            return
        one_token = {**environment, "GITMACHINE_MCP_TOKEN": ALICE}
        server = await stack.enter_async_context(over_http(one_token, "--repo", project.url))
        yield [await stack.enter_async_context(caller(server, ALICE, era)) for era in ERAS]


async def running(environment: dict[str, str]) -> None:
    await until(lambda: _sleeping(environment) == 2)


async def gone(environment: dict[str, str]) -> None:
    """Waits for the whole tree to be gone, much less long than the command would take."""
    await until(lambda: _sleeping(environment) == 0, 10)


async def outlived(client: Client, arguments: dict[str, str], environment: dict[str, str]) -> bool:
    """A call that its client gives up by itself. Whether the command ran by then; a busy host is given more time."""
    for bound_s in (1.0, 5.0, 20.0):
        call = asyncio.create_task(client.call_tool("run", arguments, read_timeout_seconds=bound_s))
        await until(lambda call=call: _sleeping(environment) == 2 or call.done())
        began = not call.done()
        with pytest.raises(MCPError, match=r"[Tt]imed out"):
            await call
        await gone(environment)
        if began:
            return True
    return False


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_call_that_is_given_up_takes_its_whole_command_along(
    transport: str, environment: dict[str, str], project: Repository
) -> None:
    """By hand, and by the client's own bound on its requests."""
    async with connected(transport, environment, project) as clients:
        for client in clients:
            handle = (await ok(client, "start"))["session"]
            run = {**TREE, "session": handle}
            call = asyncio.create_task(client.call_tool("run", run))
            await running(environment)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await gone(environment)

            assert await outlived(client, run, environment)
            assert (await ok(client, "run", command="pgrep -c sleep", session=handle))["output"] == "0\n"


async def test_a_connection_that_drops_takes_its_command_along(
    environment: dict[str, str], project: Repository
) -> None:
    """Nothing says so but TCP: reset, or closed, by a client of either era. The session goes on."""
    one_token = {**environment, "GITMACHINE_MCP_TOKEN": ALICE}
    async with over_http(one_token, "--repo", project.url) as server, caller(server, ALICE, "2026-07-28") as alice:
        handle = (await ok(alice, "run", command="echo work > work.txt"))["session"]
        anybody = Plain(server.url, (f"Authorization: Bearer {ALICE}",))
        modern, meta = new(anybody, "run")
        legacy = await old(anybody)
        for plain, more in ((legacy, {}), (modern, {"_meta": meta})):
            for reset in (True, False):
                _, writer = await plain.begin("tools/call", name="run", arguments=TREE, **more)
                await running(environment)
                if reset:
                    writer.transport.abort()
                else:
                    writer.close()
                await gone(environment)
        ran = await ok(alice, "run", command="cat work.txt")
        assert (ran["session"], ran["output"]) == (handle, "work\n")
        answer = await legacy.answer("tools/call", name="run", arguments={"command": "cat work.txt"})
        assert "work\\n" in answer, answer
    assert "Traceback" not in "".join(server.said)


def test_a_disguised_secret_would_be_found() -> None:
    for before in ("", "x-access-token:", "a", "ab"):
        text = base64.b64encode(f"{before}{TOKEN}".encode())
        assert any(form in text for form in disguises(TOKEN))


async def provoke(client: Client, project: Repository) -> None:
    """Makes the server do, and fail at, all that needs the credential."""
    read = "env; cat .git/config; git remote -v; cat /proc/*/environ; echo the-command-ran"
    handle = (await ok(client, "run", command=read))["session"]
    await ok(client, "files", op="write", path="a.txt", content="a")
    await ok(client, "commit", message="Work")
    project.reject_pushes(f"remote: bad credentials {TOKEN}")
    assert "bad credentials" in await refused(client, "push")
    project.accept_pushes()
    await ok(client, "push")
    await ok(client, "pull")
    await ok(client, "status", events_after=0)
    for uri in ("gitmachine://sessions", f"gitmachine://sessions/{handle}", f"gitmachine://sessions/{handle}/events"):
        await client.read_resource(uri)
    await refused(client, "start", repo="http://127.0.0.1:1/nothing.git")
    await ok(client, "logs")
    await ok(client, "stop")


async def test_the_token_is_nowhere_on_the_recorded_wire_of_http(
    environment: dict[str, str], project: Repository
) -> None:
    """Every byte in both directions, of both eras, with every event at the lowest level."""
    one_token = {**environment, "GITMACHINE_MCP_TOKEN": ALICE}
    async with over_http(one_token, "--repo", project.url) as server, relay(server.url) as between:
        for era in ERAS:
            async with caller(replace(server, url=between.url), ALICE, era) as client:
                if era == "legacy":
                    with warnings.catch_warnings(action="ignore"):
                        await client.set_logging_level("debug")
                await provoke(client, project)
        texts = [*between.texts(), "".join(server.said).encode()]
    assert not [form for form in disguises(TOKEN) if any(form in words for words in texts)]
    for said in (b"the-command-ran", b"bad credentials", b"command_finished", b"notifications/message", ALICE.encode()):
        assert any(said in words for words in texts), said
