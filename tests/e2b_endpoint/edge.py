"""The way of a request: recorded, delayed, spoilt as the script says, and then to the control plane or to a guest."""

from __future__ import annotations

import asyncio
import fcntl
import hmac
import json
import socket
import struct
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.e2b_endpoint import faults, files
from tests.e2b_endpoint.control import Control
from tests.e2b_endpoint.faults import Answer, Delay, Drop, Expire, Reset, Stall, Truncate
from tests.e2b_endpoint.files import FilesError, check_access
from tests.e2b_endpoint.fleet import Fleet, Refused, Sandbox
from tests.e2b_endpoint.recording import Recorded

ENVD_PORT = "49983"
DELIVERY_LIMIT_S = 5.0
_POLL_S = 0.001
_SIOCOUTQ = 0x5411
_STREAMS = ("/process.Process/Start", "/process.Process/Connect", "/filesystem.Filesystem/WatchDir")
_STREAMED_IN = "/process.Process/StreamInput"
Message = MutableMapping[str, Any]


def _unacked(raw: socket.socket) -> int:
    """tcp(7): bytes that the other side's kernel has not confirmed."""
    return int.from_bytes(fcntl.ioctl(raw.fileno(), _SIOCOUTQ, bytes(4)), sys.byteorder)


class Exchange:
    """One request on its connection, and the means to spoil its answer."""

    def __init__(self, recorded: Recorded, scope: Scope, receive: Receive, send: Send) -> None:
        self.recorded = recorded
        self.fault: faults.Fault | None = None
        self.task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._receive = receive
        self._send = send
        self._whole = False
        self._replayed = False
        self._cut = False
        self._complete = False
        self._sent = 0
        self._held: Message | None = None

    @property
    def streams_in(self) -> bool:
        return self.recorded.path == _STREAMED_IN

    @property
    def is_cut(self) -> bool:
        return self._cut

    async def read_body(self) -> None:
        """All of it, before anything is answered: pyqwest drops what it has not sent by then."""
        while not self._whole:
            await self._receive_one()

    async def receive(self) -> Message:
        """What the application reads: the body that we have, or piece by piece what comes in, then the end."""
        if self.streams_in:
            return await self._receive_one()
        if not self._replayed:
            self._replayed = True
            return {"type": "http.request", "body": bytes(self.recorded.body), "more_body": False}
        return await self._receive()

    async def wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: Message) -> None:
        """What the application answers, as far as the fault lets it."""
        if self._cut:
            return
        match self.fault:
            case Reset("after"):
                if message["type"] == "http.response.body" and not message.get("more_body", False):
                    self.reset()
            case Drop() | Truncate() as fault:
                await self._send_up_to(fault, message)
            case _:
                if message["type"] == "http.response.start":
                    self.recorded.status = message["status"]
                else:
                    self._complete = not message.get("more_body", False)
                await self._send(message)

    def reset(self) -> None:
        """A RST, and nothing more of this exchange."""
        self._cut = True
        raw = self._transport.get_extra_info("socket")
        with suppress(OSError):  # closed already
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def drop(self) -> None:
        """The end of the connection, after what has been sent; not of one that may have its next request already."""
        if not self._complete:
            self._cut = True
            self._transport.close()

    async def _send_up_to(self, fault: Drop | Truncate, message: Message) -> None:
        if message["type"] == "http.response.start":
            # A length that is not kept would be an error of ours; without it the body is sent in chunks.
            headers = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
            self._held = {**message, "headers": headers}
            return
        body = bytes(message.get("body", b""))
        left = fault.after_bytes - self._sent
        self._sent += len(body)
        if len(body) < left:  # all of it, if this is the end: then there is nothing to spoil
            await self._begin()
            self._complete = not message.get("more_body", False)
            await self._send(message)
            return
        complete = isinstance(fault, Truncate)
        if complete or left > 0:
            await self._begin()
            await self._send({"type": "http.response.body", "body": body[:left], "more_body": not complete})
        if isinstance(fault, Drop):
            await self._delivered()
            self.reset() if fault.how == "reset" else self.drop()
        self._cut = self._complete = True

    async def _delivered(self) -> None:
        """Waits until the client's kernel has all that was sent: a reset throws away what has not arrived."""
        raw = self._transport.get_extra_info("socket")
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_LIMIT_S):
                while not self._transport.is_closing() and (self._transport.get_write_buffer_size() or _unacked(raw)):
                    await asyncio.sleep(_POLL_S)

    async def _begin(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self.recorded.status = held["status"]
            await self._send(held)

    async def _receive_one(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.recorded.body += message.get("body", b"")
            self._whole = not message.get("more_body", False)
        else:
            self._whole = True
        return message


class Edge:
    """The endpoint's one ASGI application."""

    def __init__(self, api_key: str) -> None:
        self.fleet = Fleet(self.cut)
        self.requests: list[Recorded] = []
        self.script: faults.Script = faults.nothing
        self.latency_s = 0.0
        self.connections: Callable[[], int] = lambda: 0
        """How many are open now; the server's."""
        self.most_connections = 0
        self.failures: list[Exception] = []
        """Errors of the endpoint itself."""
        self._control: ASGIApp = Control(self.fleet, api_key).app
        self._open: dict[str, set[Exchange]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._take(scope, receive, send)
        except Exception as error:
            self.failures.append(error)
            raise

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.most_connections = max(self.most_connections, self.connections())
        recorded = Recorded(
            index=len(self.requests),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        )
        self.requests.append(recorded)
        exchange = Exchange(recorded, scope, receive, send)
        if not exchange.streams_in:
            await exchange.read_body()
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        exchange.fault = self.script(recorded)
        if await self._spoil(exchange):
            await self._answer(exchange, scope)

    def cut(self, sandbox_id: str) -> None:
        """The end of all connections to a sandbox, as the orchestrator ends them with a pause or the sandbox."""
        for exchange in self._open.pop(sandbox_id, set()):
            exchange.recorded.cut = True
            exchange.drop()
            if exchange.task is not None:
                exchange.task.cancel()

    async def _spoil(self, exchange: Exchange) -> bool:
        """Does what a fault does before the work; false when there is to be no work."""
        match exchange.fault:
            case Answer() as answer:
                exchange.fault = None
                await _inject(exchange, answer)
                return False
            case Reset("before"):
                exchange.reset()
                return False
            case Stall():
                await exchange.wait_for_disconnect()
                return False
            case Delay(seconds):
                await asyncio.sleep(seconds)
            case Expire():
                with suppress(Refused):
                    await self.fleet.expire(exchange.recorded.sandbox_id or "")
        return True

    async def _answer(self, exchange: Exchange, scope: Scope) -> None:
        recorded = exchange.recorded
        sandbox_id = recorded.header("e2b-sandbox-id")
        if sandbox_id is None:
            await self._control(scope, exchange.receive, exchange.send)
            return
        app = self._guest_app(recorded, sandbox_id, await self.fleet.wake(sandbox_id))
        # Registered before anything is awaited: a pause that comes in between must find it.
        exchanges = self._open.setdefault(sandbox_id, set())
        exchanges.add(exchange)
        exchange.task = asyncio.create_task(_run(app, scope, exchange))
        try:
            await self._while_connected(exchange, exchange.task)
        finally:
            exchanges.discard(exchange)

    async def _while_connected(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        """A client that goes takes its stream with it, as a Go handler's context does; other work is finished."""
        watch = [asyncio.create_task(exchange.wait_for_disconnect())] if exchange.recorded.path in _STREAMS else []
        try:
            await asyncio.wait([task, *watch], return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not exchange.is_cut:
                task.result()
        finally:
            for unfinished in (task, *watch):
                unfinished.cancel()
            # What a handler says to its cancellation (connectrpc makes an error of its own of it) has no reader.
            await asyncio.gather(task, *watch, return_exceptions=True)

    def _guest_app(self, recorded: Recorded, sandbox_id: str, sandbox: Sandbox | None) -> ASGIApp:
        """What answers for a sandbox: the proxy before it, or envd. Texts: shared/pkg/proxy/template/*.go."""
        if sandbox is None:
            return _unavailable(sandbox_id, "The sandbox was not found")
        if recorded.header("e2b-sandbox-port") != ENVD_PORT:
            return _unavailable(sandbox_id, "The sandbox is running but port is not open")
        return _Envd(sandbox)


class _Envd:
    """A sandbox's guest agent."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        request = Request(scope, receive)
        if path == "/health":
            await Response(status_code=204)(scope, receive, send)
        elif path == "/files":
            await (await self._files(request))(scope, receive, send)
        elif not hmac.compare_digest(request.headers.get("x-access-token", ""), self._sandbox.token):
            text = "unauthorized access, please provide a valid access token or method signing if supported"
            await files.failed(FilesError(401, text))(scope, receive, send)
        elif path.startswith("/process.Process/"):
            await self._sandbox.process_app(scope, receive, send)
        elif path.startswith("/filesystem.Filesystem/"):
            await self._sandbox.filesystem_app(scope, receive, send)
        else:
            await Response("404 page not found\n", 404)(scope, receive, send)

    async def _files(self, request: Request) -> Response:
        try:
            check_access(request, "read" if request.method == "GET" else "write", self._sandbox.token)
            serve = files.download if request.method == "GET" else files.upload
            return await serve(self._sandbox.guest, request)
        except FilesError as error:
            return files.failed(error)


async def _run(app: ASGIApp, scope: Scope, exchange: Exchange) -> None:
    await app(scope, exchange.receive, exchange.send)


def _unavailable(sandbox_id: str, message: str) -> ASGIApp:
    return JSONResponse({"sandboxId": sandbox_id, "message": message, "code": 502}, 502)


async def _inject(exchange: Exchange, answer: Answer) -> None:
    body = answer.body if answer.body is not None else _error_body(answer)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **answer.headers}
    head = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await exchange.send({"type": "http.response.start", "status": answer.status, "headers": head})
    await exchange.send({"type": "http.response.body", "body": body})


def _error_body(answer: Answer) -> bytes:
    return json.dumps({"code": answer.status, "message": answer.message}).encode()
