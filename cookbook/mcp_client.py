"""How does a program that speaks MCP use a session? `python mcp_client.py REPOSITORY` starts a server and calls it."""

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
            text = " ".join(part.text for part in result.content if part.type == "text")
            print(f"{tool}: {text.strip()}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python mcp_client.py REPOSITORY
#     run: [exit code 0]
#     hello
#     files: Edited hello.txt.
#     diff: hello.txt +1 -1
#     commit: Committed 9e73c4ff19940dcfbeb29fabe3532532947b8ca5 on by-mcp.
#     stop: Ended; 9e73c4ff19940dcfbeb29fabe3532532947b8ca5 is on by-mcp.
