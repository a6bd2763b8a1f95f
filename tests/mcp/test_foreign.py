"""What other people's programs say of the server: the conformance suite, the Inspector, `mcpdo`, the bundle checker."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client

import gitmachine_mcp
from tests.mcp.conftest import COMMAND, LIMIT_S, ok, over_http
from tests.mcp.node import Node
from tests.mcp.node import node as node
from tests.mcp.node import node_directory as node_directory
from tests.support.git_server import Repository

pytestmark = pytest.mark.timeout(300)

ROOT = Path(gitmachine_mcp.__file__).parents[1]
REVISIONS = ("2025-11-25", "2026-07-28")
WITHOUT_FIXTURES = {
    "2025-11-25": {
        "server-initialize", "server-session-lifecycle", "ping", "logging-set-level", "completion-complete",
        "tools-list", "resources-list", "resources-subscribe", "resources-unsubscribe", "prompts-list",
        "dns-rebinding-protection", "server-sse-multiple-streams",
    },
    "2026-07-28": {
        "tools-list", "resources-list", "prompts-list", "caching", "http-header-validation",
        "sep-2164-resource-not-found", "dns-rebinding-protection",
    },
}  # fmt: skip


@asynccontextmanager
async def conformance_app(environment: dict[str, str]) -> AsyncIterator[str]:
    """The server with the suite's fixtures, as a process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.mcp.conformance_app", str(port), env=environment, cwd=ROOT.parent,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.1)
                    continue
                writer.close()
                break
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        await process.wait()


async def test_conformance_with_the_fixtures_of_the_suite(node: Node, environment: dict[str, str]) -> None:
    """Of both revisions, by one server, as it serves them."""
    async with conformance_app(environment) as url:
        for revision in REVISIONS:
            await node("conformance", "server", "--url", url, "--requirements", revision)


async def test_conformance_of_the_server_that_is_shipped(node: Node, environment: dict[str, str]) -> None:
    async with over_http(environment, "--insecure-no-auth") as server:
        for revision in REVISIONS:
            said = await node("conformance", "server", "--url", server.url, "--requirements", revision, exits=None)
            passed = set(re.findall(r"^✓ ([\w-]+): [1-9]\d* passed, 0 failed", said, re.MULTILINE))
            assert WITHOUT_FIXTURES[revision] <= passed, said


async def test_the_inspector_drives_a_session(node: Node, environment: dict[str, str], project: Repository) -> None:
    async with over_http(environment, "--insecure-no-auth", "--repo", project.url) as server:

        async def asked(method: str, *words: str, exits: int = 0) -> Any:
            common = ("--cli", server.url, "--transport", "http", "--method", method, "--format", "json")
            return json.loads(await node("mcp-inspector", *common, *words, exits=exits))["result"]

        async def call(tool: str, *arguments: str, exits: int = 0) -> Any:
            words = [word for argument in arguments for word in ("--tool-arg", argument)]
            return await asked("tools/call", "--tool-name", tool, *words, exits=exits)

        tools = (await asked("tools/list"))["tools"]
        assert len(tools) == 15
        assert all(tool["title"] and tool["outputSchema"] and len(tool["annotations"]) == 5 for tool in tools)
        ran = await call("run", "command=echo 1 > one.txt; exit 3")
        session = f"session={ran['structuredContent']['session']}"
        assert ran["structuredContent"]["exit_code"] == 3
        assert "one.txt" in (await call("diff", session))["structuredContent"]["patch"]
        assert (await call("commit", session, "message=One"))["structuredContent"]["sha"]
        assert (await call("pause", session))["structuredContent"]["state"] == "paused"
        assert (await call("resume", session))["structuredContent"]["state"] == "running"
        assert (await call("run", "command=true", "session=gm_nonsense", exits=5))["isError"]
        await call("stop", session)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_foreign_client_hears_of_a_commit(
    transport: str, era: str, node: Node, environment: dict[str, str], project: Repository, tmp_path: Path
) -> None:
    """Made by another client: over HTTP of the same server, on stdio of a server process of its own."""
    common = ["--insecure-no-auth", "--repo", project.url]
    async with over_http(environment, *common) as server:
        entry: dict[str, Any] = {"protocolEra": era}
        if transport == "http":
            entry |= {"type": "streamable-http", "url": server.url}
        else:
            entry |= {"command": COMMAND, "args": ["--repo", project.url], "env": environment}
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"mcpServers": {"ours": entry}}))
        try:
            await node("mcpdo", "--config", str(config), "connect", "ours")
            said = await node("mcpdo", "--format", "json", "@ours", "tools/call", "run", "command:=echo 1 > one.txt")
            handle = json.loads(said)["structuredContent"]["session"]
            uri = f"gitmachine://sessions/{handle}/events"
            listener = await node.begin("mcpdo", "--format", "json", "@ours", "resources/subscribe", uri)
            try:
                await _heard(listener, "subscribed")
                await _commit(transport, environment, server.url, handle)
                assert uri in await _heard(listener, "resources/updated")
            finally:
                listener.terminate()
                await listener.communicate()
            await node("mcpdo", "@ours", "tools/call", "stop", f"session:={handle}")
            await node("mcpdo", "disconnect", "ours")
        finally:
            await node("mcpdo", "daemon", "stop", exits=None)


async def _heard(listener: asyncio.subprocess.Process, word: str) -> str:
    assert listener.stdout is not None
    said = ""
    async with asyncio.timeout(LIMIT_S):
        while not re.search(rf'"type": "{word}".*?}}', said, re.DOTALL):
            line = await listener.stdout.readline()
            assert line, said
            said += line.decode()
    return said


async def _commit(transport: str, environment: dict[str, str], url: str, handle: str) -> None:
    from tests.mcp.conftest import on_stdio

    client = Client(url) if transport == "http" else on_stdio(environment)
    async with client:
        assert (await ok(client, "commit", session=handle, message="By another"))["sha"]


async def test_the_bundle_is_valid(node: Node) -> None:
    assert "passes" in await node("mcpb", "validate", str(ROOT / "mcpb" / "manifest.json"))
