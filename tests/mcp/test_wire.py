"""What ends a command from the client's side, in every era and transport, and what a recorded wire holds."""

from __future__ import annotations

import asyncio
import base64
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
async def connected(
    transport: str, era: str, environment: dict[str, str], project: Repository
) -> AsyncIterator[Client]:
    if transport == "stdio":
        async with on_stdio(environment, "--repo", project.url, mode=era) as client:
            yield client
        return
    one_token = {**environment, "GITMACHINE_MCP_TOKEN": ALICE}
    async with over_http(one_token, "--repo", project.url) as server, caller(server, ALICE, era) as client:
        yield client


async def running(environment: dict[str, str]) -> None:
    await until(lambda: _sleeping(environment) == 2)


async def gone(environment: dict[str, str]) -> None:
    """Waits for the whole tree to be gone, much less long than the command would take."""
    await until(lambda: _sleeping(environment) == 0, 10)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_call_that_is_given_up_takes_its_whole_command_along(
    transport: str, era: str, environment: dict[str, str], project: Repository
) -> None:
    """By hand, and by the client's own bound on its requests."""
    async with connected(transport, era, environment, project) as client:
        await ok(client, "run", command="echo work > work.txt")
        call = asyncio.create_task(client.call_tool("run", TREE))
        await running(environment)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await gone(environment)

        late = asyncio.create_task(client.call_tool("run", TREE, read_timeout_seconds=1))
        await running(environment)
        with pytest.raises(MCPError, match=r"[Tt]imed out"):
            await late
        await gone(environment)
        assert (await ok(client, "run", command="cat work.txt"))["output"] == "work\n"


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
