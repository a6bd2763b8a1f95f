"""The server over HTTP: who is let in, whose sessions are whose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError

from tests.mcp.conftest import COMMAND, LIMIT_S, HttpServer, ok, over_http, refused
from tests.mcp.test_process import EXIT_LIMIT_S, running_machines
from tests.support.git_server import Repository

ALICE, BOB = "alice-token-0123456789", "bob-token-0123456789-x"


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.write_text(f"# callers\nalice:{ALICE}\nbob:{BOB}\n")
    return str(path)


@contextlib.asynccontextmanager
async def caller(server: HttpServer, token: str, era: str, ear: Any = None) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        create_mcp_http_client(headers=headers) as http,
        Client(streamable_http_client(server.url, http_client=http), mode=era, message_handler=ear) as client,
    ):
        yield client


async def asked(server: HttpServer, *headers: str) -> int:
    """The status of a request that anybody could send."""
    host, port = server.url.removeprefix("http://").removesuffix("/mcp").split(":")
    given = {line.partition(":")[0].lower() for line in headers}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    lines = ["POST /mcp HTTP/1.1", "Content-Type: application/json", "Accept: application/json, text/event-stream"]
    lines += [f"Content-Length: {len(body)}", "Connection: close", *headers]
    lines += [] if "host" in given else [f"Host: {host}:{port}"]
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    async with asyncio.timeout(LIMIT_S):
        status = int((await reader.readline()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


async def test_only_callers_with_a_token_and_the_right_names_are_let_in(
    environment: dict[str, str], tokens: str
) -> None:
    async with over_http(environment, "--token-file", tokens) as server:
        good = f"Authorization: Bearer {ALICE}"
        assert await asked(server) == 401
        assert await asked(server, "Authorization: Bearer not-a-token-of-anybody") == 401
        assert await asked(server, good, "Host: evil.example") == 421
        assert await asked(server, good, "Origin: https://evil.example") == 403
        assert await asked(server, good) not in (401, 403, 421)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "needs a token"),
        (("--host", "0.0.0.0"), "needs a token"),
        (("--host", "0.0.0.0", "--insecure-no-auth"), "lets anybody in"),
        (("--host", "0.0.0.0", "--token-file", "TOKENS"), "--allowed-host"),
        (("--token-file", "/nowhere"), "cannot be read"),
    ],
)
async def test_it_refuses_to_listen_to_whom_nobody_meant(
    words: tuple[str, ...], reason: str, environment: dict[str, str], tokens: str
) -> None:
    chosen = [tokens if word == "TOKENS" else word for word in words]
    process = await asyncio.create_subprocess_exec(
        COMMAND, "--http", "--port", "0", *chosen, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(LIMIT_S):
        out, errors = await process.communicate()
    assert process.returncode == 64
    assert reason in errors.decode()
    assert "Traceback" not in errors.decode()
    assert out == b""


async def test_a_session_is_its_owners_alone(environment: dict[str, str], tokens: str, project: Repository) -> None:
    async with (
        over_http(environment, "--token-file", tokens, "--allow-repo", "http://127.0.0.1:*") as server,
        caller(server, ALICE, "2026-07-28") as alice,
        caller(server, BOB, "2026-07-28") as bob,
        caller(server, BOB, "legacy") as old_bob,
    ):
        handle = (await ok(alice, "start", repo=project.url, branch="alices"))["session"]
        uri = f"gitmachine://sessions/{handle}/events"
        for other in (bob, old_bob):
            assert "no session" in await refused(other, "run", command="true", session=handle)
            assert "no session" in await refused(other, "status", session=handle)
            assert "no session" in await refused(other, "stop", session=handle)
            assert "no session" in await refused(other, "start", resume=handle)
            assert "no session" in await refused(other, "start", resume="alices")
            assert (await ok(other, "status"))["sessions"] == []
            with pytest.raises(MCPError):
                await other.read_resource(uri)
            (index,) = (await other.read_resource("gitmachine://sessions")).contents
            assert handle not in getattr(index, "text", "")
        with pytest.raises(MCPError):
            async with bob.listen(resource_subscriptions=[uri]):
                pass
        with pytest.raises(MCPError), pytest.warns(match="removed"):
            await old_bob.subscribe_resource(uri)
        assert (await ok(alice, "run", command="true"))["session"] == handle
        await ok(alice, "stop")


async def test_only_repositories_that_the_operator_allows(
    environment: dict[str, str], tokens: str, project: Repository
) -> None:
    async with (
        over_http(environment, "--token-file", tokens, "--allow-repo", "https://github.com/us/*") as server,
        caller(server, ALICE, "2026-07-28") as alice,
    ):
        assert "does not work on" in await refused(alice, "start", repo=project.url)
        assert "does not work on" in await refused(alice, "start", repo="/etc")
        assert "remote helper" in await refused(alice, "start", repo="ext::sh -c id")


async def test_sigterm_makes_the_work_safe(environment: dict[str, str], tokens: str, project: Repository) -> None:
    async with over_http(environment, "--token-file", tokens, "--repo", project.url) as server:
        async with caller(server, ALICE, "2026-07-28") as alice:
            handle = (await ok(alice, "run", command="echo kept > kept.txt"))["session"]
            async with alice.listen(resource_subscriptions=[f"gitmachine://sessions/{handle}"]):
                began = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(LIMIT_S):
                    await server.process.wait()
                took = time.monotonic() - began
        assert took < EXIT_LIMIT_S
    assert not await running_machines()
    async with (
        over_http(environment, "--token-file", tokens, "--repo", project.url) as server,
        caller(server, ALICE, "legacy") as alice,
    ):
        assert (await ok(alice, "run", command="cat kept.txt"))["session"] == handle
        await ok(alice, "stop")
