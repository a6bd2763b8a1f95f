"""Sessions as resources: the index, the state, the numbered events, the patch, a command's output, a file."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError
from mcp.server.mcpserver.resources import ResourceSecurity

from gitmachine.errors import GitMachineError, SessionNotFound
from gitmachine_mcp import principal as principals
from gitmachine_mcp.desk import Desk, OpenSession
from gitmachine_mcp.faults import explain
from gitmachine_mcp.handles import HandleRecord
from gitmachine_mcp.hub import INDEX_URI, as_data
from gitmachine_mcp.limits import number_of

MAX_EVENTS = 500
MAX_CHARS = 200_000
"""Of a text in a resource. One event of a stream may have 1 MiB."""

__all__ = ["Resources", "add_resources", "not_found"]


@contextmanager
def not_found() -> Iterator[None]:
    """Turns what the library raises into the SDK's error."""
    try:
        yield
    except SessionNotFound as error:
        from mcp.server.mcpserver.exceptions import ResourceNotFoundError

        raise ResourceNotFoundError(explain(error)) from error
    except (GitMachineError, OSError, UnicodeError) as error:
        raise ResourceError(explain(error)) from error


class Resources:
    """The functions behind the addresses. Each answers its caller's own sessions only."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def index(self) -> str:
        """Your sessions."""
        records = self._desk.known(principals.current.get())
        return _json({"sessions": [self._of(record) for record in records]})

    async def state(self, session: str) -> str:
        """A session's state, branch and the number of its last event."""
        with not_found():
            record = self._record(session)
            log = self._desk.registry.store(record.session_id).events
            return _json({**self._of(record), "last_event": log.count()})

    async def events(self, session: str, after: str = "0", limit: str = "100") -> str:
        """What happened in a session after an event's number, oldest first, each with its number, without gaps."""
        with not_found():
            record = self._record(session)
            log = self._desk.registry.store(record.session_id).events
            wanted = min(max(1, number_of(limit)), MAX_EVENTS)
            events = [as_data(record.handle, event) for event in log.read(number_of(after), wanted)]
            last = events[-1]["seq"] if events else number_of(after)
            return _json({"events": events, "next": last, "last": log.count()})

    async def diff(self, session: str, base: str = "HEAD") -> str:
        """What the working tree changes, as a patch; its beginning when it is long."""
        return await self._carried(session, lambda found: found.gm.diff(base))

    async def log(self, session: str, command_id: str, after: str = "0") -> str:
        """What a command has written, from a byte offset on."""

        async def read(found: OpenSession) -> str:
            running = found.commands.ours(command_id)
            transcript = running.transcript if running else (await found.commands.kept(command_id))[1]
            return (await transcript.read(number_of(after), MAX_CHARS)).decode("utf-8", "replace")

        return await self._carried(session, read)

    async def file(self, session: str, path: str) -> str:
        """A text file of the checkout; its beginning when it is long."""
        return await self._carried(session, lambda found: found.gm.read_file(path), awake=True)

    async def may_hear(self, principal: str, uri: str) -> bool:
        """Whether a caller may hear of an address; its session is opened, so that there is something to hear."""
        handle = uri.removeprefix(INDEX_URI).strip("/").partition("/")[0].partition("?")[0]
        if not handle:
            return True
        record = self._desk.handles.find(principal, handle)
        if record is None or record.handle != handle:
            return False
        if self._desk.state_of(record) != "ended":
            with not_found():
                await self._desk.crew.carry(self._desk.get(principal, handle, used=False), "listening to a session")
        return True

    def _record(self, session: str) -> HandleRecord:
        record = self._desk.handles.find(principals.current.get(), session)
        if record is None:
            raise SessionNotFound(f"there is no session {session[:80]!r}")
        return record

    def _of(self, record: HandleRecord) -> dict[str, Any]:
        return {
            "session": record.handle,
            "branch": record.branch,
            "repository": record.repository,
            "state": self._desk.state_of(record),
            "expires_at": record.expires_at.isoformat(),
        }

    async def _carried(
        self, session: str, work: Callable[[OpenSession], Awaitable[str]], *, awake: bool = False
    ) -> str:
        async def carry() -> str:
            return await work(await self._desk.get(principals.current.get(), session, awake=awake))

        with not_found():
            text = await self._desk.crew.carry(carry(), "reading a resource")
        if len(text) <= MAX_CHARS:
            return text
        return f"{text[:MAX_CHARS]}\n[... {len(text) - MAX_CHARS} characters more: a tool gives them by cursor ...]\n"


def add_resources(server: MCPServer[Any], resources: Resources) -> None:
    """The index as a resource, all else as templates."""
    one = f"{INDEX_URI}/{{session}}"
    server.resource(INDEX_URI, name="sessions", title="Your sessions", mime_type="application/json")(resources.index)
    for uri, name, title, mime_type, function in (
        (one, "session", "A session", "application/json", resources.state),
        (one + "/events{?after,limit}", "events", "Events of a session", "application/json", resources.events),
        (one + "/diff{?base}", "diff", "Changes of a session", "text/x-diff", resources.diff),
        (one + "/commands/{command_id}/log{?after}", "log", "Output of a command", "text/plain", resources.log),
        (one + "/files/{+path}", "file", "A file of a session", "text/plain", resources.file),
    ):
        # A path is checked where it is used, in the machine and with its links followed.
        server.resource(uri, name=name, title=title, mime_type=mime_type, security=ResourceSecurity())(function)


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)
