"""What the MCP server costs: a tool call over the same library call, and its start over the SDK's empty server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from bench.measure import Extra, Figure, Plan, compare, extra
from gitmachine import GitMachine, LocalMachine

COMMAND = str(Path(sys.executable).with_name("gitmachine-mcp"))
EMPTY = (sys.executable, "-c", "from mcp.server.mcpserver import MCPServer; MCPServer('empty').run()")
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "GITMACHINE_HOME") if name in os.environ}


def _first_list(*command: str) -> None:
    """From the start of the process to its answer to the first `tools/list`; then it is ended, and waited for."""
    messages: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": HELLO},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in messages:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
        while json.loads(process.stdout.readline()).get("id") != 2:
            pass
        process.kill()


async def calls(repository: Path) -> list[Extra]:
    """A tool call on stdio over the same call of the library, each on a session of its own, on the same repository."""
    gm = GitMachine(LocalMachine(), str(repository), session="bench-library")
    words = ["--repo", str(repository), "--branch", "bench-mcp"]
    server = StdioServerParameters(command=COMMAND, args=words, env=_environment())
    async with gm, Client(server) as client:
        await client.call_tool("start", {})
        figures = [
            await extra(
                Plan("MCP tool call: run 'true'", "the library's run('true')", 5.0, samples=60),
                lambda: client.call_tool("run", {"command": "true"}),
                lambda: gm.run("true"),
            ),
            await extra(
                Plan("MCP tool call: diff", "the library's diff()", 5.0, samples=40),
                lambda: client.call_tool("diff", {}),
                gm.diff,
            ),
        ]
        await client.call_tool("stop", {})
    return figures


async def starts() -> list[Figure]:
    """The server from its start to its first answer that matters, against an empty one."""
    return [
        await compare(
            Plan("gitmachine-mcp, start to first tools/list", "the SDK's empty server", 1.5, samples=10, warm_up=1),
            lambda: asyncio.to_thread(_first_list, COMMAND),
            lambda: asyncio.to_thread(_first_list, *EMPTY),
        )
    ]
