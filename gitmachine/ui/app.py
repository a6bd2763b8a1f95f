"""The page's addresses, and what each shows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gitmachine.errors import CheckpointNotFound, GitMachineError, SessionNotFound
from gitmachine.overview import Seen, Sessions, family, store_of
from gitmachine.records import CorruptRecord
from gitmachine.sessions import Registry, SessionRecord
from gitmachine.ui import doing, said
from gitmachine.ui.comparing import column_of
from gitmachine.ui.entrance import FORM_SECRET
from gitmachine.ui.patches import taken_apart
from gitmachine.ui.pulse import Pulse
from gitmachine.ui.timeline import Timeline, output_of, timeline_of
from gitmachine.visible import beginning

_HERE = Path(__file__).parent
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_ENDED_SHOWN = 30
_COMPARED = 6
_OUTPUT_LINES, _OUTPUT_CHARACTERS = 2000, 200_000
_NOT_FOUND = (SessionNotFound, CheckpointNotFound)

Handler = Callable[[Request], Awaitable[Response]]


class Page:
    """The application, without its entrance."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()
        self._sessions = Sessions()
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters |= said.FILTERS
        routes = [
            Route("/", self._index),
            Route("/pulse", self._pulse),
            Route("/compare", self._compare),
            Route("/s/{session}", self._session),
            Route("/s/{session}/diff", self._diff),
            Route("/s/{session}/confirm/{action}", self._confirm),
            Route("/s/{session}/do/{action}", self._do, methods=["POST"]),
            Route("/s/{session}/{number:int}", self._entry),
            Route("/s/{session}/{number:int}/output.txt", self._output),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]
        handlers: Any = {GitMachineError: self._failed, HTTPException: self._failed}
        self.app = Starlette(routes=routes, exception_handlers=handlers)

    def close(self) -> None:
        """Lets the streams end, so that the server can."""
        self._closing.set()

    async def _index(self, request: Request) -> Response:
        everyone = await self._sessions.all()
        live = [seen for seen in everyone if seen.state != "stopped"]
        ended = [seen for seen in everyone if seen.state == "stopped"]
        shown = ended if request.query_params.get("all") else ended[:_ENDED_SHOWN]
        corrupt = await asyncio.to_thread(Registry().corrupt)
        return self._render(
            request, "index.html", live=live, ended=shown, hidden=len(ended) - len(shown), corrupt=corrupt
        )

    async def _session(self, request: Request) -> Response:
        seen, timeline, relatives = await self._of(request)
        patch = await timeline.trees.patch(timeline.began, timeline.newest) if timeline.entries else ""
        return self._render(
            request, "session.html", seen=seen, timeline=timeline, relatives=relatives, files=taken_apart(patch),
            selected=None,
        )  # fmt: skip

    async def _entry(self, request: Request) -> Response:
        seen, timeline, relatives = await self._of(request)
        entry = timeline.entry(request.path_params["number"])
        earlier = entry.number - 1 if entry.number > timeline.entries[0].number else entry.number
        patch = await timeline.trees.patch(earlier, entry.number) if entry.changed else ""
        outputs = [
            (name, *beginning(text.removesuffix("\n"), _OUTPUT_LINES, _OUTPUT_CHARACTERS))
            for name, text in zip(("stdout", "stderr"), await output_of(seen.record, entry), strict=True)
            if text
        ]
        return self._render(
            request, "entry.html", seen=seen, timeline=timeline, relatives=relatives, files=taken_apart(patch),
            selected=entry.number, entry=entry, outputs=outputs,
        )  # fmt: skip

    async def _output(self, request: Request) -> Response:
        record = self._record(request)
        entry = (await timeline_of(record)).entry(request.path_params["number"])
        stdout, stderr = await output_of(record, entry)
        return PlainTextResponse(stdout + stderr)

    async def _diff(self, request: Request) -> Response:
        seen, timeline, relatives = await self._of(request)
        before = _number(request.query_params.get("from"), timeline.began)
        after = _number(request.query_params.get("to"), timeline.newest)
        patch = await timeline.trees.patch(before, after)
        return self._render(
            request, "diff.html", seen=seen, timeline=timeline, relatives=relatives, files=taken_apart(patch),
            before=before, after=after, selected=None,
        )  # fmt: skip

    async def _confirm(self, request: Request) -> Response:
        seen, timeline, relatives = await self._of(request)
        action = request.path_params["action"]
        if action not in doing.ACTIONS:
            raise HTTPException(404, "there is no such button")
        number = _number(request.query_params.get("number"), timeline.newest)
        patch = await timeline.trees.patch(timeline.newest, number) if action == "rewind" else ""
        return self._render(
            request, "confirm.html", seen=seen, timeline=timeline, relatives=relatives, files=taken_apart(patch),
            action=action, number=number, given="number" in request.query_params, selected=None,
        )  # fmt: skip

    async def _compare(self, request: Request) -> Response:
        asked = dict.fromkeys(request.query_params.getlist("s"))
        records = [self._load(session) for session in list(asked)[:_COMPARED]]
        columns = await asyncio.gather(*[column_of(await self._sessions.see(record)) for record in records])
        largest = max((column.size for column in columns), default=0) or 1
        return self._render(request, "compare.html", columns=columns, largest=largest)

    async def _do(self, request: Request) -> Response:
        if request.path_params["action"] not in doing.ACTIONS:
            raise HTTPException(404, "there is no such button")
        self._record(request)
        return await doing.do(request)

    async def _pulse(self, request: Request) -> Response:
        session = request.query_params.get("session")
        store = store_of(self._load(session)) if session else None
        return StreamingResponse(Pulse(self._closing, store).events(), media_type="text/event-stream")

    async def _of(self, request: Request) -> tuple[Seen, Timeline, list[Seen]]:
        record = self._record(request)
        everyone, timeline = await asyncio.gather(self._sessions.all(), timeline_of(record))
        seen = next((one for one in everyone if one.record.id == record.id), None) or await self._sessions.see(record)
        return seen, timeline, [one for one in family(seen, everyone) if one.record.id != record.id]

    def _record(self, request: Request) -> SessionRecord:
        return self._load(request.path_params["session"])

    def _load(self, session: str) -> SessionRecord:
        try:
            if _SESSION.fullmatch(session):
                return Registry().store(session).load()
        except (FileNotFoundError, CorruptRecord):
            pass
        raise SessionNotFound(f"there is no session {session[:80]!r} on this host")

    def _render(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        text = self._templates.get_template(template).render(form_secret=request.scope[FORM_SECRET], **values)
        return HTMLResponse(text.encode("utf-8", "replace"), status_code=status)

    async def _failed(self, request: Request, error: Exception) -> Response:
        """What went wrong, in the words of whoever noticed it."""
        if isinstance(error, HTTPException):
            return self._render(request, "failed.html", error.status_code, message=error.detail, notes=[], back="/")
        session = request.path_params.get("session", "")
        back = f"/s/{session}" if _SESSION.fullmatch(session) and not isinstance(error, _NOT_FOUND) else "/"
        notes = getattr(error, "__notes__", [])
        status = 404 if isinstance(error, _NOT_FOUND) else 409
        return self._render(request, "failed.html", status, message=str(error), notes=notes, back=back)


def _number(text: str | None, otherwise: int) -> int:
    try:
        return otherwise if text is None else int(text)
    except ValueError:
        raise CheckpointNotFound(f"{text[:40] if text else text!r} is not the number of a checkpoint") from None
