"""One factory for every transport: the tools, resources and prompts over one desk, with its hub."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import anyio
from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.caching import CacheHint
from mcp.server.extension import Extension
from mcp.server.mcpserver import MCPServer

from gitmachine_mcp.bridge import Bridge
from gitmachine_mcp.desk import Desk
from gitmachine_mcp.hub import Hub
from gitmachine_mcp.options import Options
from gitmachine_mcp.prompts import INSTRUCTIONS, add_prompts
from gitmachine_mcp.resources import Resources, add_resources
from gitmachine_mcp.tools.listing import add_tools

log = logging.getLogger(__name__)

NAME = "gitmachine"
CLOSING_LIMIT_S = 1.8
"""Clients end a server that has not ended two seconds after its input (the SDK's own, for one)."""


@dataclass(frozen=True, slots=True)
class Access:
    """How callers over HTTP prove who they are."""

    verifier: TokenVerifier
    settings: AuthSettings


def version() -> str:
    """Of the installed distribution."""
    try:
        return metadata.version("gitmachine-sdk")
    except metadata.PackageNotFoundError:
        return "0+source"


def build_server(
    options: Options | None = None,
    *,
    access: Access | None = None,
    extensions: Sequence[Extension] = (),
    on_closed: Callable[[], None] | None = None,
) -> MCPServer[Any]:
    """A server that was not started. When its lifespan ends, sessions are put to sleep, then comes `on_closed`."""
    hub = Hub(lambda: desk.crew)
    desk = Desk(options or Options(), hub.tell)
    resources = Resources(desk)
    users = 0

    @asynccontextmanager
    async def lifespan(_: MCPServer[Any]) -> AsyncIterator[Desk]:
        """Entered once for a process; in tests once for each client in memory, and the last one ends it."""
        nonlocal users
        if users == 0:
            desk.open()
        users += 1
        try:
            yield desk
        finally:
            users -= 1
            if users == 0:
                with anyio.CancelScope(shield=True):
                    await desk.close(CLOSING_LIMIT_S)
                if on_closed is not None:
                    on_closed()

    private = CacheHint(ttl_ms=0, scope="private")
    listed = CacheHint(ttl_ms=3_600_000, scope="private")
    server: MCPServer[Any] = MCPServer(
        NAME,
        title="GitMachine",
        description="A sandboxed machine with a git repository in it: every session is a branch.",
        instructions=INSTRUCTIONS,
        version=version(),
        token_verifier=access.verifier if access else None,
        auth=access.settings if access else None,
        lifespan=lifespan,
        log_level="WARNING",
        subscriptions=hub.bus,
        middleware=[Bridge(hub, resources.may_hear)],
        extensions=extensions,
        cache_hints={"resources/read": private, "tools/list": listed, "prompts/list": listed, "resources/list": listed},
    )
    add_tools(server, desk)
    add_resources(server, resources)
    add_prompts(server, desk)
    return server
