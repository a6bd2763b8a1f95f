"""What the edge does for a port of a sandbox that is not envd's: HTTP handed on, from within the sandbox's network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import h11
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.e2b_endpoint.box import GuestRefused
from tests.e2b_endpoint.sandbox import Sandbox

_CHUNK_BYTES = 64 * 1024
_OF_ONE_CONNECTION = {b"connection", b"transfer-encoding", b"content-length", b"keep-alive"}


class Port:
    """One port of one sandbox; `closed` answers when nobody listens."""

    def __init__(self, sandbox: Sandbox, port: int, closed: ASGIApp) -> None:
        self._sandbox = sandbox
        self._port = port
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            _, fd = await self._sandbox.box.open("dial", port=self._port)
        except GuestRefused:
            await self._closed(scope, receive, send)
            return
        connection = socket.socket(fileno=fd)
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            protocol = h11.Connection(h11.CLIENT)
            writer.write(await _request(protocol, Request(scope, receive)))
            head = await anext(events := _events(protocol, reader))
            assert isinstance(head, h11.Response)
            response = StreamingResponse(_data(events), head.status_code)
            response.raw_headers = [(name, value) for name, value in head.headers if name not in _OF_ONE_CONNECTION]
            await response(scope, receive, send)
        finally:
            writer.close()


async def _request(protocol: h11.Connection, request: Request) -> bytes:
    body = await request.body()
    headers = [(name, value) for name, value in request.headers.raw if name not in _OF_ONE_CONNECTION]
    headers += [(b"connection", b"close"), (b"content-length", str(len(body)).encode())]
    target = request.scope["raw_path"] + (b"?" + request.scope["query_string"] if request.url.query else b"")
    head = protocol.send(h11.Request(method=request.method, target=target, headers=headers)) or b""
    return head + (protocol.send(h11.Data(data=body)) or b"") + (protocol.send(h11.EndOfMessage()) or b"")


async def _events(protocol: h11.Connection, reader: asyncio.StreamReader) -> AsyncIterator[h11.Event]:
    while True:
        match event := protocol.next_event():
            case h11.NEED_DATA:
                protocol.receive_data(await reader.read(_CHUNK_BYTES))
            case h11.EndOfMessage() | h11.ConnectionClosed():
                return
            case h11.Event():
                yield event


async def _data(events: AsyncIterator[h11.Event]) -> AsyncIterator[bytes]:
    async for event in events:
        if isinstance(event, h11.Data):
            yield bytes(event.data)
