"""Requests to a proxy, read strictly (RFC 9112): what two programs could read differently is refused. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gitmachine.network.policy import Target

MAX_HEAD_BYTES = 64 * 1024

_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]{1,16384}) HTTP/1\.[01]")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\x20-\x7e\x80-\xff\t]*)")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\\]+)(?::([0-9]{1,5}))?")
_ABSOLUTE = re.compile(r"http://([^/?#]*)(.*)", re.IGNORECASE)
_HOP_BY_HOP = frozenset(
    {
        "connection", "proxy-connection", "keep-alive", "proxy-authorization", "proxy-authenticate", "te", "trailer",
        "upgrade", "http2-settings",
    }
)  # fmt: skip


class BadRequest(ValueError):
    """What a client sent is not a request to a proxy, or not one that can be read in one way only."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of one request."""

    method: str
    target: Target
    forwarded: bytes
    """What the origin server is sent in place of the head; nothing for CONNECT."""

    @property
    def is_tunnel(self) -> bool:
        return self.method == "CONNECT"


def parse(head: bytes) -> Request:
    """A head with the empty line at its end. Raises BadRequest."""
    line, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise BadRequest("this is not a request of HTTP/1.1")
    method, text = found.groups()
    headers = [_header(one) for one in rest]
    if method.upper() == "CONNECT":
        return Request("CONNECT", _authority(text, None), b"")
    absolute = _ABSOLUTE.fullmatch(text)
    if absolute is None:
        raise BadRequest("this is the machine's proxy: it takes CONNECT host:port and GET http://host/path")
    target = _authority(absolute[1], 80)
    _check_headers(headers, target)
    return Request(method, target, _forwarded(method, target, absolute[2], headers))


def _header(line: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(line)
    if found is None:
        raise BadRequest("a header field cannot be read")
    return found[1], found[2].strip(" \t")


def _authority(text: str, default_port: int | None) -> Target:
    found = _AUTHORITY.fullmatch(text)
    port = None if found is None else int(found[2]) if found[2] else default_port
    if found is None or port is None or not 0 < port < 65536:
        raise BadRequest(f"{text[:100]!r} is not host:port")
    try:
        return Target.of(found[1].strip("[]"), port)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _check_headers(headers: list[tuple[str, str]], target: Target) -> None:
    names = [name.lower() for name, _ in headers]
    for name in ("host", "content-length", "transfer-encoding"):
        if names.count(name) > 1:
            raise BadRequest(f"there are several {name} fields")
    if "content-length" in names and "transfer-encoding" in names:
        raise BadRequest("content-length and transfer-encoding contradict each other")
    hosts = [value for name, value in headers if name.lower() == "host"]
    if hosts and _authority(hosts[0], 80) != target:
        raise BadRequest(f"the Host field names {hosts[0][:100]!r} and the request {target}")


def _forwarded(method: str, target: Target, path: str, headers: list[tuple[str, str]]) -> bytes:
    # One request a connection: a second one on it could be for another host.
    named = {
        part.strip().lower() for name, value in headers if name.lower() == "connection" for part in value.split(",")
    }
    if "host" in named or "content-length" in named or "transfer-encoding" in named:
        raise BadRequest("the Connection field names a field that must be passed on")
    host = str(target).removesuffix(":80")
    where = path if path.startswith("/") else f"/{path}"
    lines = [f"{method} {where.partition('#')[0]} HTTP/1.1", f"Host: {host}"]
    dropped = _HOP_BY_HOP | named | {"host"}
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in dropped]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def refusal(status: str, text: str) -> bytes:
    """An answer of the proxy's own. Its reason goes where most programs show it: into the status line."""
    body = f"GitMachine: {text}\n".encode("ascii", "backslashreplace")
    reason = re.sub(r"[^\x20-\x7e]+", " ", text)[:400]
    head = (
        f"HTTP/1.1 {status} GitMachine: {reason}\r\nContent-Type: text/plain; charset=us-ascii\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nX-GitMachine: refused\r\n\r\n"
    )
    return head.encode("ascii") + body
