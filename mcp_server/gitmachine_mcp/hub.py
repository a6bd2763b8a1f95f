"""Events on their way to whoever listens. Nobody who does not read delays anybody.

A client of 2026-07-28 holds a `subscriptions/listen` stream open and is told through the SDK's bus. Older clients are
told on their connection: what they subscribed to, and every event as a log message. Each such connection has a queue
of its own with a bound; `resources/updated` of one address is told once however often it happened meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, get_args

import anyio
from mcp.server.session import ServerSession
from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp_types import (
    LoggingLevel,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
)

from gitmachine.events import Event
from gitmachine_mcp import principal as principals
from gitmachine_mcp.crew import Crew
from gitmachine_mcp.handles import HandleRecord

log = logging.getLogger(__name__)

LOGGER_NAME = "gitmachine.events"
INDEX_URI = "gitmachine://sessions"
QUEUE_LIMIT = 256
WRITE_LIMIT_S = 30.0
IDLE_LIMIT_S = 1860.0
"""A connection over HTTP that was silent this long is forgotten: the SDK ends its session after 30 minutes."""

LEVELS: tuple[LoggingLevel, ...] = get_args(LoggingLevel)
_LEVEL_OF: dict[str, LoggingLevel] = {
    "paused": "notice",
    "resumed": "notice",
    "stopping": "notice",
    "command_started": "debug",
    "checkpointed": "debug",
    "push_rejected": "warning",
    "push_held": "warning",
    "withheld": "warning",
    "capture_incomplete": "warning",
    "recovered": "warning",
    "network_refused": "warning",
    "setup_failed": "warning",
    "callback_failed": "error",
}
_CHANGES_THE_INDEX = frozenset({"started", "stopped", "paused", "resumed"})
_ONLY_IN_THE_LOG = frozenset({"command_started", "command_finished", "checkpointed"})


def level_of(event: Event) -> LoggingLevel:
    """How loud an event is said."""
    return _LEVEL_OF.get(event.name, "info")


def session_uri(handle: str) -> str:
    return f"{INDEX_URI}/{handle}"


def events_uri(handle: str) -> str:
    return f"{INDEX_URI}/{handle}/events"


def as_data(handle: str, event: Event) -> dict[str, Any]:
    """An event as callers see it."""
    return {
        "seq": event.seq,
        "session": handle,
        "type": event.name or getattr(event, "event", "unknown"),
        "at": event.at.isoformat(),
        "data": event.data(),
    }


def uris_of(handle: str, event: Event) -> list[str]:
    """The resources that an event changes."""
    uris = [events_uri(handle)]
    if event.name not in _ONLY_IN_THE_LOG:
        uris.append(session_uri(handle))
    if event.name in _CHANGES_THE_INDEX:
        uris.append(INDEX_URI)
    return uris


class Bus:
    """The SDK's bus for listen streams, where each stream hears of its own principal's sessions only."""

    def __init__(self) -> None:
        self._listeners: dict[object, tuple[str, Callable[[ServerEvent], None]]] = {}

    async def publish(self, event: ServerEvent) -> None:
        """To everybody: what concerns the server and not a session."""
        for _, listener in list(self._listeners.values()):
            listener(event)

    def tell(self, principal: str, event: ServerEvent) -> None:
        """To the streams of one principal. A stream that is full is ended by the SDK; this does not wait."""
        for owner, listener in list(self._listeners.values()):
            if owner == principal:
                listener(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Called by the SDK within the request, whose principal is then the stream's."""
        token = object()
        self._listeners[token] = (principals.current.get(), listener)

        def unsubscribe() -> None:
            self._listeners.pop(token, None)

        return unsubscribe


@dataclass
class Connection:
    """A connection of a client from before 2026-07-28."""

    principal: str
    session: ServerSession
    wanted: set[str] = field(default_factory=set)
    level: LoggingLevel = "info"
    seen: float = field(default_factory=time.monotonic)
    queue: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    pump: asyncio.Task[None] | None = None

    def put(self, key: Hashable, notification: Any) -> None:
        """Queues a notification; of the same key only the last is kept, of too many the newest."""
        self.queue[key] = notification
        if len(self.queue) > QUEUE_LIMIT:
            self.queue.popitem(last=False)
        self.news.set()


class Hub:
    """Brings each event of a session to those who may hear of it and want to."""

    def __init__(self, crew: Callable[[], Crew]) -> None:
        self.bus = Bus()
        self._crew = crew
        self._connections: dict[str, Connection] = {}

    def connection(self, key: str, principal: str, session: ServerSession) -> Connection:
        """The connection of that key, made when it is new."""
        known = self._connections.get(key)
        if known is None or known.principal != principal:
            self._forget_silent()
            known = self._connections[key] = Connection(principal, session)
            known.pump = self._crew().start(self._pump(key, known), f"notifications to {key}")
        known.session, known.seen = session, time.monotonic()
        return known

    async def tell(self, record: HandleRecord, event: Event) -> None:
        """Never waits for a client."""
        for uri in uris_of(record.handle, event):
            self.bus.tell(record.principal, ResourceUpdated(uri=uri))
            updated = ResourceUpdatedNotification(params=ResourceUpdatedNotificationParams(uri=uri))
            for connection in self._connections.values():
                if connection.principal == record.principal and uri in connection.wanted:
                    connection.put(uri, updated)
        level = level_of(event)
        params = LoggingMessageNotificationParams(level=level, logger=LOGGER_NAME, data=as_data(record.handle, event))
        for connection in self._connections.values():
            if connection.principal == record.principal and LEVELS.index(level) >= LEVELS.index(connection.level):
                connection.put((record.handle, event.seq), LoggingMessageNotification(params=params))

    async def _pump(self, key: str, connection: Connection) -> None:
        while True:
            await connection.news.wait()
            connection.news.clear()
            while connection.queue:
                _, notification = connection.queue.popitem(last=False)
                try:
                    async with asyncio.timeout(WRITE_LIMIT_S):
                        await connection.session.send_notification(notification)
                except (TimeoutError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
                    log.info("the connection %s is forgotten: %s", key, type(error).__name__)
                    if self._connections.get(key) is connection:
                        del self._connections[key]
                    return

    def _forget_silent(self) -> None:
        now = time.monotonic()
        silent = [key for key, c in self._connections.items() if key != "stdio" and now - c.seen > IDLE_LIMIT_S]
        for key in silent:
            if (pump := self._connections.pop(key).pump) is not None:
                pump.cancel()
