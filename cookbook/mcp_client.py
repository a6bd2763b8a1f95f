"""How does a program that speaks MCP use a session? It starts `gitmachine-mcp` and calls its tools."""

import asyncio
import os
import sys
from pathlib import Path

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters


async def main(repository: str) -> None:
    server = StdioServerParameters(
        command=str(Path(sys.executable).with_name("gitmachine-mcp")),
        args=["--repo", repository, "--branch", "by-mcp"],
        env={name: os.environ[name] for name in ("PATH", "HOME", "GITMACHINE_HOME", "TMPDIR") if name in os.environ},
    )
    async with Client(server) as client:
        for tool, arguments in (
            ("run", {"command": "cat hello.txt"}),  # the session starts by itself
            ("files", {"op": "edit", "path": "hello.txt", "old": "hello", "new": "hello from MCP"}),
            ("diff", {"stat_only": True}),
            ("commit", {"message": "Greet from MCP"}),
            ("stop", {}),
        ):
            result = await client.call_tool(tool, arguments)
            print(f"{tool}: {' '.join(part.text for part in result.content if part.type == 'text')}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "."))
