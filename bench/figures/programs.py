"""How long programs take to begin: an import, the command line, the MCP server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.figures.doors import MCP_SERVER, environment
from bench.measure import Plan, Row, Work, compare
from bench.registry import Place

AIM_IMPORT, AIM_HELP, AIM_SERVER = 1.3, 1.5, 1.5
_EMPTY_COMMAND = """
import click

@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option("1", prog_name="empty")
def cli(): "An empty program."

cli(prog_name="empty")
"""
_EMPTY_SERVER = (sys.executable, "-c", "from mcp.server.mcpserver import MCPServer; MCPServer('empty').run()")
_HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


async def programs(place: Place) -> list[Row]:
    empty = place.work / "empty.py"
    empty.write_text(_EMPTY_COMMAND)
    command = str(Path(sys.executable).with_name("gitmachine"))
    effort = place.effort(15.0)
    return [
        await compare(
            Plan("import gitmachine", "import pydantic", AIM_IMPORT),
            _process(sys.executable, "-c", "import gitmachine"),
            _process(sys.executable, "-c", "import pydantic; pydantic.BaseModel"),
            effort,
        ),
        await compare(
            Plan("from gitmachine import GitMachine, LocalMachine", "import pydantic", AIM_IMPORT),
            _process(sys.executable, "-c", "from gitmachine import GitMachine, LocalMachine"),
            _process(sys.executable, "-c", "import pydantic; pydantic.BaseModel"),
            effort,
        ),
        await compare(
            Plan("gitmachine --help", "an empty program of click", AIM_HELP),
            _process(command, "--help"),
            _process(sys.executable, str(empty), "--help"),
            effort,
        ),
        await compare(
            Plan("gitmachine-mcp, start to first tools/list", "the SDK's empty server", AIM_SERVER),
            lambda: asyncio.to_thread(_first_list, (MCP_SERVER,)),
            lambda: asyncio.to_thread(_first_list, _EMPTY_SERVER),
            place.effort(20.0),
        ),
    ]


def _process(*argv: str) -> Work:
    async def work() -> None:
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0

    return work


def _first_list(command: Sequence[str]) -> None:
    """From the start of the process to its answer to the first `tools/list`; then it is ended, and waited for."""
    messages: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": _HELLO},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in messages:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
        while json.loads(process.stdout.readline()).get("id") != 2:
            pass
        process.kill()
