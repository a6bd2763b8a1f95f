"""What the SDK leaves to a middleware: who asks, and the subscriptions of clients from before 2026-07-28.

All that depends on the SDK's provisional middleware interface is in this file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, EmptyResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from gitmachine_mcp import principal as principals
from gitmachine_mcp.hub import INDEX_URI, LEVELS, Hub
from gitmachine_mcp.presence import while_present

MayHear = Callable[[str, str], Awaitable[bool]]
"""Whether a principal may hear of a resource, by its address; opens its session where that is needed."""


def is_modern(protocol_version: str | None) -> bool:
    return protocol_version in MODERN_PROTOCOL_VERSIONS


class Bridge:
    """The one middleware of the server."""

    def __init__(self, hub: Hub, may_hear: MayHear) -> None:
        self._hub = hub
        self._may_hear = may_hear

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        token = principals.current.set(principals.of(ctx.request))
        try:
            if is_modern(ctx.protocol_version):
                return await self._modern(ctx, call_next)
            return await self._legacy(ctx, call_next)
        finally:
            principals.current.reset(token)

    async def _modern(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "subscriptions/listen":
            wanted = ((ctx.params or {}).get("notifications") or {}).get("resourceSubscriptions") or []
            for uri in wanted:
                await self._check(uri)
        result = await call_next(ctx)
        if ctx.method == "server/discover" and isinstance(result, dict):
            result.setdefault("capabilities", {})["logging"] = {}
        return result

    async def _legacy(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        params = ctx.params or {}
        match ctx.method:
            case "notifications/initialized":
                self._connection(ctx)
            case "resources/subscribe":
                uri = str(params.get("uri"))
                await self._check(uri)
                self._connection(ctx).wanted.add(uri)
                return EmptyResult()
            case "resources/unsubscribe":
                self._connection(ctx).wanted.discard(str(params.get("uri")))
                return EmptyResult()
            case "logging/setLevel":
                if params.get("level") not in LEVELS:
                    raise MCPError(INVALID_PARAMS, f"level must be one of {', '.join(LEVELS)}")
                self._connection(ctx).level = params["level"]
                return EmptyResult()
            case "initialize":
                result = await call_next(ctx)
                if isinstance(result, dict):
                    capabilities = result.setdefault("capabilities", {})
                    capabilities["logging"] = {}
                    capabilities["resources"] = {**capabilities.get("resources", {}), "subscribe": True}
                return result
            case "tools/call":
                return await while_present(ctx.request, call_next(ctx))
        return await call_next(ctx)

    def _connection(self, ctx: ServerRequestContext[Any, Any]) -> Any:
        request = ctx.request
        key = "stdio" if request is None else request.headers.get("mcp-session-id", "?")
        return self._hub.connection(key, principals.current.get(), ctx.session)

    async def _check(self, uri: str) -> None:
        if uri.startswith(INDEX_URI) and not await self._may_hear(principals.current.get(), uri):
            raise MCPError(INVALID_PARAMS, f"Resource not found: {uri[:200]}", {"uri": uri[:200]})
