"""The way of a request: recorded, delayed, spoilt as the script says, and then to the control plane or to a guest."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.e2b_endpoint import faults, files
from tests.e2b_endpoint.control import Control
from tests.e2b_endpoint.exchange import Exchange
from tests.e2b_endpoint.faults import Answer, Delay, Expire, Reset, Stall
from tests.e2b_endpoint.files import FilesError, check_access
from tests.e2b_endpoint.fleet import Fleet, Refused
from tests.e2b_endpoint.ports import Port
from tests.e2b_endpoint.recording import Recorded
from tests.e2b_endpoint.sandbox import Sandbox

ENVD_PORT = "49983"
_STREAMS = ("/process.Process/Start", "/process.Process/Connect", "/filesystem.Filesystem/WatchDir")


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

    @property
    def open_streams(self) -> int:
        """Requests to sandboxes that are being worked on."""
        return sum(len(exchanges) for exchanges in self._open.values())

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
        port = recorded.header("e2b-sandbox-port") or ENVD_PORT
        if port != ENVD_PORT:
            return Port(sandbox, int(port), _unavailable(sandbox_id, "The sandbox is running but port is not open"))
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
