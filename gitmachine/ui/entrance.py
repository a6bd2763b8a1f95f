"""Who may come in, and what a browser may do with what it gets.

The address that the operator is given has a token, which is exchanged once for a cookie. Whoever has neither gets
nothing: no page, no stylesheet, no word of what is here. Other users of this host can connect to the loopback too, and
so can any page that is open in the operator's browser; hence the checks of Host, of Origin and of where a request
comes from.
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ENTER = "/enter"
FORM_SECRET = "gitmachine.form_secret"  # noqa: S105  # where a request carries it
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with less, a browser hides from us that a form is our own
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_WELCOME = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">
<title>GitMachine</title><p><a href="/">To the sessions</a></p></html>"""
"""A page and no redirect: a browser sends a strict cookie only where one of our own pages leads."""
_NOBODY = "This page opens with the address that `gitmachine ui` prints. It works once: start it again for another.\n"


class Entrance:
    """The ASGI application in front of the page."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self._cookie = f"gitmachine-ui-{port}"  # a host's ports share their cookies
        self._invitation: str | None = secrets.token_urlsafe(32)
        self._key = secrets.token_urlsafe(32)
        self._form_secret = secrets.token_urlsafe(32)

    @property
    def invitation(self) -> str:
        """Path and token, good for one use."""
        return f"{ENTER}?token={self._invitation}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer[name] = value
            await send(message)

        await self._chosen(scope, headers)(scope, receive, guarded)

    def _chosen(self, scope: Scope, headers: Headers) -> ASGIApp:
        if headers.get("host") not in self._hosts:
            return _refusal()
        if scope["path"] == ENTER and scope["method"] == "GET":
            return self._let_in(scope)
        if not self._is_known(headers) or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return _refusal()
        if scope["method"] not in ("GET", "HEAD") and headers.get("origin") != f"http://{headers['host']}":
            return _refusal()
        scope[FORM_SECRET] = self._form_secret
        return self._app

    def _let_in(self, scope: Scope) -> ASGIApp:
        given = parse_qs(scope["query_string"].decode("ascii", "replace")).get("token", [""])[0]
        if self._invitation is None or not _same(given, self._invitation):
            return _refusal()
        self._invitation = None
        answer = HTMLResponse(_WELCOME)
        answer.set_cookie(self._cookie, self._key, httponly=True, samesite="strict", path="/")
        return answer

    def _is_known(self, headers: Headers) -> bool:
        try:
            given = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return given is not None and _same(given.value, self._key)


def _refusal() -> ASGIApp:
    return PlainTextResponse(_NOBODY, status_code=403)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
