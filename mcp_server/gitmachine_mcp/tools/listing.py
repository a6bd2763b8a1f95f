"""Which tools there are, and what a host may assume of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from gitmachine_mcp.desk import Desk
from gitmachine_mcp.tools.base import as_tool
from gitmachine_mcp.tools.files import FileTools
from gitmachine_mcp.tools.lifecycle import LifecycleTools
from gitmachine_mcp.tools.past import PastTools
from gitmachine_mcp.tools.running import RunningTools


@dataclass(frozen=True, slots=True)
class Kind:
    """A tool's hints. Those left out of a tool's annotations would be read as the worst."""

    title: str
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False

    def annotations(self) -> ToolAnnotations:
        return ToolAnnotations(
            title=self.title,
            read_only_hint=self.read_only,
            destructive_hint=self.destructive,
            idempotent_hint=self.idempotent,
            open_world_hint=self.open_world,
        )


# What a command prints and a repository holds is the world's text, not ours: `open_world`.
_KINDS = {
    "start": Kind("Start a session", open_world=True),
    "run": Kind("Run a command", destructive=True, open_world=True),
    "logs": Kind("Read a command's output", read_only=True, idempotent=True, open_world=True),
    "interrupt": Kind("Interrupt a command", destructive=True, idempotent=True),
    "files": Kind("List, read, write and edit files", destructive=True),
    "status": Kind("Show sessions and events", read_only=True, idempotent=True),
    "diff": Kind("Show changes", read_only=True, idempotent=True),
    "commit": Kind("Commit changes"),
    "push": Kind("Publish the branch", idempotent=True, open_world=True),
    "pull": Kind("Merge what others pushed", open_world=True),
    "rewind": Kind("Go back to an earlier step", destructive=True),
    "fork": Kind("Fork the session"),
    "pause": Kind("Pause the session", idempotent=True),
    "resume": Kind("Resume the session", idempotent=True),
    "stop": Kind("End the session", destructive=True, idempotent=True, open_world=True),
}
READ_ONLY = ("logs", "status", "diff", "files")


def add_tools(server: MCPServer[Any], desk: Desk) -> None:
    """Puts the tools that the operator allows on a server, always in the same order."""
    lifecycle, running, files, past = LifecycleTools(desk), RunningTools(desk), FileTools(desk), PastTools(desk)
    functions: dict[str, Callable[..., Awaitable[Any]]] = {
        "start": lifecycle.start,
        "run": running.run,
        "logs": running.logs,
        "interrupt": running.interrupt,
        "files": files.files,
        "status": lifecycle.status,
        "diff": lifecycle.diff,
        "commit": lifecycle.commit,
        "push": lifecycle.push,
        "pull": lifecycle.pull,
        "rewind": past.rewind,
        "fork": past.fork,
        "pause": lifecycle.pause,
        "resume": lifecycle.resume,
        "stop": lifecycle.stop,
    }
    for name, function in functions.items():
        if not desk.options.read_only or name in READ_ONLY:
            kind = _KINDS[name]
            server.add_tool(
                as_tool(desk, function),
                name=name,
                title=kind.title,
                description=_description(function),
                annotations=kind.annotations(),
            )


def _description(function: Callable[..., Any]) -> str:
    """The docstring without its indentation and line ends, paragraphs kept."""
    paragraphs = (function.__doc__ or "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
