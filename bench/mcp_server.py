"""What the MCP server costs: a tool call over the same library call, and its start over the SDK's empty server."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from gitmachine import GitMachine, LocalMachine

CALLS = 60
STARTS = 7
COMMAND = str(Path(sys.executable).with_name("gitmachine-mcp"))
EMPTY = (sys.executable, "-c", "from mcp.server.mcpserver import MCPServer; MCPServer('empty').run()")
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


async def each_ms(works: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, float]:
    """Medians; the works take turns, so that what else the host does meets all of them alike."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(CALLS):
        for name, work in works.items():
            began = time.perf_counter()
            await work()
            spent[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(times) for name, times in spent.items()}


def start_ms(command: tuple[str, ...], environment: dict[str, str]) -> float:
    """From the start of the process to its answer to the first `tools/list`."""
    messages: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": HELLO},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
    ]
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in messages:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
        while json.loads(process.stdout.readline()).get("id") != 2:
            pass
        spent = (time.perf_counter() - began) * 1000
        process.stdin.close()
        process.wait()
    return spent


async def calls(repository: Path, environment: dict[str, str]) -> dict[str, float]:
    gm = GitMachine(LocalMachine(), str(repository))
    server = StdioServerParameters(command=COMMAND, args=["--repo", str(repository)], env=environment)
    async with gm, Client(server) as client:
        await client.call_tool("start", {})
        return await each_ms(
            {
                "run by the library": lambda: gm.run("true"),
                "run by MCP": lambda: client.call_tool("run", {"command": "true"}),
                "diff by the library": lambda: gm.diff(),
                "diff by MCP": lambda: client.call_tool("diff", {}),
            }
        )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gm-bench-") as state:
        Path(state).chmod(0o711)
        os.environ["GITMACHINE_HOME"] = f"{state}/home"
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "GITMACHINE_HOME") if name in os.environ}
        repository = Path(state) / "project"
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.com"]
        subprocess.run([*git, "init", "-q", "-b", "main", str(repository)], check=True)
        subprocess.run([*git, "-C", str(repository), "commit", "-q", "--allow-empty", "-m", "Begin"], check=True)
        found = asyncio.run(calls(repository, environment))
        pairs = [(start_ms((COMMAND,), environment), start_ms(EMPTY, environment)) for _ in range(STARTS)]
    for name in ("run", "diff"):
        library, mcp = found[f"{name} by the library"], found[f"{name} by MCP"]
        print(f"{name}: library {library:.1f} ms, MCP on stdio {mcp:.1f} ms, overhead {mcp - library:.1f} ms")
    ours, empty = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"start to the first tools/list: {ours:.0f} ms, empty server {empty:.0f} ms, ratio {ours / empty:.2f}")


if __name__ == "__main__":
    main()
