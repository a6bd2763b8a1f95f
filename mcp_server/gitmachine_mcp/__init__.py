"""GitMachine for MCP clients: `gitmachine-mcp`, or `build_server` for a host of your own. Needs the extra `mcp`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gitmachine.errors import MissingExtra

if TYPE_CHECKING:
    from gitmachine_mcp.options import Options
    from gitmachine_mcp.server import build_server

__all__ = ["Options", "build_server"]

INSTALL = "install it with the extra, `pip install 'gitmachine-sdk[mcp]'`"


def __getattr__(name: str) -> Any:
    import importlib

    modules = {"Options": "gitmachine_mcp.options", "build_server": "gitmachine_mcp.server"}
    if name in modules:
        try:
            return getattr(importlib.import_module(modules[name]), name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "anyio"):
                raise
            raise MissingExtra(f"{name} needs the mcp SDK: {INSTALL}") from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
