"""How do I configure Claude Code? `python claude_code.py CHECKOUT` writes two files there and tries the server.

`.mcp.json` starts GitMachine's server in the project; Claude asks you once whether it may. `.claude/settings.json` lets
it use the server's tools without more questions, and takes away those that would act on your own machine.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, get_default_environment

# Where GitMachine is installed now. For a team: "uvx", with ["--from", "gitmachine-sdk[mcp]", "gitmachine-mcp", …].
COMMAND = str(Path(sys.executable).with_name("gitmachine-mcp"))
SERVER: dict[str, Any] = {"type": "stdio", "command": COMMAND, "args": ["--repo", "."], "env": {}}
SETTINGS = {"permissions": {"allow": ["mcp__gitmachine"], "deny": ["Bash", "Edit", "Write", "NotebookEdit"]}}


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("x") as file:  # yours is not overwritten: add these lines to it by hand
        json.dump(content, file, indent=2)
    print("wrote", path.name)


async def main(checkout: Path) -> None:
    write(checkout / ".mcp.json", {"mcpServers": {"gitmachine": SERVER}})
    write(checkout / ".claude" / "settings.json", SETTINGS)
    started = StdioServerParameters(
        command=SERVER["command"], args=SERVER["args"], env=get_default_environment(), cwd=checkout
    )
    async with Client(started) as client:  # as Claude Code will start it
        print(*(tool.name for tool in (await client.list_tools()).tools))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

# It prints:
#
#     $ python claude_code.py CHECKOUT
#     wrote .mcp.json
#     wrote settings.json
#     start run logs interrupt files status diff commit push pull rewind fork pause resume stop
