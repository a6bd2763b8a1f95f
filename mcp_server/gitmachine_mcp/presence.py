"""Whether the caller of an HTTP request is still there to be answered.

Clients of 2026-07-28 cancel a call by closing its connection, and the SDK sees to that. With older ones it lets the
call go on, for a client that may come back for the answer; here no client can, since answers are not kept for later.
So a connection that is closed, or lost, before the answer ends the call in both eras.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from mcp.shared.exceptions import MCPError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")

_KEY = "gitmachine.caller"
_REQUEST_CANCELLED = -32800
"""What the SDK's transport answers to a request that was cancelled, in the eras that want an answer."""


@dataclasses.dataclass
class Caller:
    """Who waits for the answer to one HTTP request."""

    left: bool = False
    on_leaving: Callable[[], None] | None = None

    def leave(self) -> None:
        self.left = True
        if self.on_leaving is not None:
            self.on_leaving()


class Presence:
    """The ASGI middleware that notices when a caller leaves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope[_KEY] = Caller()

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                caller.leave()
            return message

        await self._app(scope, watched, send)


async def while_present(request: Any, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the caller of the HTTP `request` leaves before.

    Raises MCPError then. Without an HTTP request (None) there is nobody who could.
    """
    caller: Caller | None = None if request is None else request.scope.get(_KEY)
    if caller is None:
        return await work
    with anyio.CancelScope() as scope:
        caller.on_leaving = scope.cancel
        if caller.left:
            scope.cancel()
        try:
            return await work
        finally:
            caller.on_leaving = None
    raise MCPError(_REQUEST_CANCELLED, "the connection was closed before the answer")
