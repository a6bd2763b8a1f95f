"""The buttons: each takes the session up, does one thing and lets it go again."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gitmachine.actor import acting
from gitmachine.errors import ConfigurationError, StateError
from gitmachine.git_machine import GitMachine
from gitmachine.sessions import Registry, SessionRecord
from gitmachine.types import MachineState
from gitmachine.ui.entrance import FORM_SECRET

_MAX_FORM_BYTES = 10_000
Form = dict[str, str]


async def form_of(request: Request) -> Form:
    """The fields of a form that this page itself has made. Raises ConfigurationError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            raise ConfigurationError("the form is too long")
    fields = {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    if not hmac.compare_digest(fields.get("secret", "").encode(), request.scope[FORM_SECRET].encode()):
        raise ConfigurationError("this form is not one of this page's: go back, load the page again, and try once more")
    return fields


async def rewind(gm: GitMachine, form: Form) -> str:
    done = await gm.rewind(_number(form, "number"))
    return f"/s/{gm.record.id}/{done.entry.number}"


async def fork(gm: GitMachine, form: Form) -> str:
    made = await gm.fork(form.get("name", "").strip(), _number(form, "number") if form.get("number") else None)
    try:
        return f"/s/{made.record.id}"
    finally:
        await made.detach()


async def pause(gm: GitMachine, form: Form) -> str:
    del form
    await gm.pause()
    return f"/s/{gm.record.id}"


async def resume(gm: GitMachine, form: Form) -> str:
    del form
    await gm.resume()
    return f"/s/{gm.record.id}"


async def stop(gm: GitMachine, form: Form) -> str:
    del form
    await gm.stop()
    return f"/s/{gm.record.id}"


ACTIONS: dict[str, Callable[[GitMachine, Form], Awaitable[str]]] = {
    "rewind": rewind, "fork": fork, "pause": pause, "resume": resume, "stop": stop,
}  # fmt: skip


async def do(request: Request) -> Response:
    """Answers a button. Raises GitMachineError."""
    form = await form_of(request)
    name = request.path_params["action"]
    record: SessionRecord = Registry().store(request.path_params["session"]).load()
    with acting("ui"):
        gm = await GitMachine.reopen(record.id)
        try:
            where = await ACTIONS[name](gm, form)
        finally:
            if gm.state is not MachineState.STOPPED:
                await gm.detach()
    return RedirectResponse(quote(where), status_code=303)


def _number(form: Form, name: str) -> int:
    try:
        return int(form.get(name, ""))
    except ValueError:
        raise StateError(f"{form.get(name, '')[:40]!r} is not the number of a checkpoint") from None
