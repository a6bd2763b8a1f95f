"""What all tools share: whose call it is, which session is meant, how an answer looks, how an error is told."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import LOG_LEVEL_META_KEY, CallToolResult, TextContent
from pydantic import BaseModel, Field

from gitmachine.actor import acting
from gitmachine_mcp import principal as principals
from gitmachine_mcp.bridge import is_modern
from gitmachine_mcp.consent import Asked
from gitmachine_mcp.desk import Desk, OpenSession
from gitmachine_mcp.faults import for_a_model
from gitmachine_mcp.hub import LOGGER_NAME, as_data, level_of
from gitmachine_mcp.limits import room

SessionArgument = Annotated[
    str | None,
    Field(description="The session's handle, as `start` gave it. May be left out while only one is live."),
]


@dataclass(slots=True)
class Call:
    """The sessions that a call has touched, each with the number of its last event before."""

    touched: dict[str, tuple[OpenSession, int]] = field(default_factory=dict)


_call: ContextVar[Call | None] = ContextVar("gitmachine_mcp_call", default=None)


class Tools:
    """Base of the groups of tools."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def session(self, handle: str | None, *, awake: bool = False, used: bool = True) -> OpenSession:
        """The session that the call is about, if it is the caller's."""
        return self.touch(await self.desk.get(principals.current.get(), handle, awake=awake, used=used))

    def touch(self, session: OpenSession, after: int | None = None) -> OpenSession:
        call = _call.get()
        if call is not None:
            call.touched.setdefault(session.handle, (session, session.store.events.count() if after is None else after))
        return session


def answer(text: str, data: BaseModel) -> CallToolResult:
    """A result that can be read either way."""
    return CallToolResult(
        content=[TextContent(type="text", text=text[: room(text)])], structured_content=data.model_dump(mode="json")
    )


def as_tool(desk: Desk, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`function` as the SDK calls it: its errors readable, its work cancelled gently, its events told."""

    @functools.wraps(function)
    async def tool(*, ctx: Context, **arguments: Any) -> Any:
        call = Call()
        token = _call.set(call)
        try:
            with for_a_model(), acting("mcp", ctx.request_id):
                return await desk.crew.carry(_awaited(function(ctx=ctx, **arguments)), "a tool call")
        except Asked as asked:
            return asked.result
        finally:
            _call.reset(token)
            await _tell_events(ctx, call)

    return tool


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


async def _tell_events(ctx: Context, call: Call) -> None:
    """For a client of 2026-07-28 that asked for it: what this call made happen, as log messages within its request."""
    if not is_modern(ctx.protocol_version) or LOG_LEVEL_META_KEY not in (ctx.request_context.meta or {}):
        return
    for session, after in call.touched.values():
        for event in session.store.events.read(after):
            with warnings.catch_warnings(action="ignore"):  # deprecated, and still all that there is in this era
                sending = ctx.request_context.session.send_log_message(
                    level_of(event),
                    as_data(session.handle, event),
                    logger=LOGGER_NAME,
                    related_request_id=ctx.request_context.request_id,
                )
            await sending
