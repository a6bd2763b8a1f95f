"""GitMachine for MCP clients: `gitmachine-mcp`, or `build_server` for a host of your own. Needs the extra `mcp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gitmachine_mcp.options import Options
    from gitmachine_mcp.server import build_server

__all__ = ["Options", "build_server"]


def __getattr__(name: str) -> Any:
    import importlib

    modules = {"Options": "gitmachine_mcp.options", "build_server": "gitmachine_mcp.server"}
    if name in modules:
        return getattr(importlib.import_module(modules[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
