"""An endpoint for one test, or for many: a server on 127.0.0.1 with an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.e2b_endpoint import faults
from tests.e2b_endpoint.edge import Edge
from tests.e2b_endpoint.fleet import Fleet
from tests.e2b_endpoint.recording import Recorded

START_LIMIT_S = 30.0
CALL_LIMIT_S = 60.0
KEEP_ALIVE_S = 600
_BACKLOG = 4096
_T = TypeVar("_T")


class _Protocol(H11Protocol):
    """Gives the application its connection, so that it can be spoilt."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base has it
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, fleet: Fleet, started: threading.Event) -> None:
        super().__init__(config)
        self._fleet = fleet
        self._told = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # The sandboxes first: with them end the streams that it would wait for.
        await self._fleet.close()
        await super().shutdown(sockets)


class E2BEndpoint:
    """The E2B API and its sandboxes, on this host.

    `with E2BEndpoint() as endpoint:` and the unmodified SDK with `endpoint.environment` set. Every sandbox that is left
    ends with the block. All calls may be made from any thread, and none takes long.
    """

    def __init__(self) -> None:
        self.api_key = f"e2b_{secrets.token_hex(20)}"
        self._socket = socket.socket()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="e2b-endpoint", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._failed: BaseException | None = None
        self._edge: Edge
        self._server: _Server

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        self._thread.start()
        if not self._started.wait(START_LIMIT_S) or self._failed is not None:
            raise RuntimeError("the E2B endpoint did not start") from self._failed
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.should_exit = True
        self._thread.join(CALL_LIMIT_S)
        assert not self._thread.is_alive(), "the E2B endpoint does not end"
        failure = self._failed or next(iter(self._edge.failures), None)
        if failure is not None:
            raise RuntimeError("the E2B endpoint failed") from failure

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to come here instead of to the cloud."""
        return {"E2B_API_URL": self.url, "E2B_SANDBOX_URL": self.url, "E2B_API_KEY": self.api_key}

    # --- what happened -----------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[Recorded]:
        """All of them so far, or since `forget`, in the order in which they came."""
        return list(self._edge.requests)

    def forget(self) -> None:
        """The next request is number 0."""
        self._call(self._forget())

    @property
    def open_streams(self) -> int:
        """Requests to sandboxes that are being worked on: running commands with a client, mostly."""
        return self._call(self._count_open())

    @property
    def most_connections(self) -> int:
        """The most that were open at any request so far, or since `forget`."""
        return self._edge.most_connections

    @property
    def sandboxes(self) -> dict[str, str]:
        """Those that exist: `running` or `paused` by id."""
        found = list(self._edge.fleet.sandboxes.values())
        return {sandbox.id: "paused" if sandbox.paused else "running" for sandbox in found}

    @property
    def created(self) -> int:
        """How many sandboxes were ever made here."""
        return self._edge.fleet.created

    # --- what is to happen -------------------------------------------------------------------------------------

    def inject(self, script: faults.Script) -> None:
        """Asked at every request from now on."""
        self._edge.script = script

    def delay(self, seconds: float) -> None:
        """Latency, from now on, of every request before it is looked at."""
        self._edge.latency_s = seconds

    def advance(self, seconds: float) -> None:
        """Sets the control plane's clock forward: leases that are over then end at once."""
        self._call(self._advance(seconds))

    def expire(self, sandbox_id: str) -> None:
        """Ends a sandbox's lease now."""
        self._call(self._edge.fleet.expire(sandbox_id))

    def kill(self, sandbox_id: str) -> None:
        """Ends a sandbox, without a request."""
        self._call(self._edge.fleet.kill(sandbox_id))

    def limit_length(self, seconds: float) -> None:
        """The longest that an instance may run, from now on; 24 hours at first."""
        self._edge.fleet.max_length_s = seconds

    # --- inside ------------------------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_LIMIT_S)

    async def _count_open(self) -> int:
        return self._edge.open_streams

    async def _forget(self) -> None:
        self._edge.requests.clear()
        self._edge.most_connections = 0

    async def _advance(self, seconds: float) -> None:
        fleet = self._edge.fleet
        fleet.clock.advance(seconds)
        await fleet.expire_due()

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001  # told to the thread that waits for us
            self._failed = error
            self._started.set()
        finally:
            self._socket.close()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._edge = Edge(self.api_key)
        config = uvicorn.Config(
            self._edge,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # it tells of every answer that a fault has cut off; our own errors end the block
            access_log=False,
            backlog=_BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config, self._edge.fleet, self._started)
        self._edge.connections = lambda: len(self._server.server_state.connections)
        leases = asyncio.create_task(self._edge.fleet.watch_leases())
        try:
            await self._server.serve([self._socket])
        finally:
            leases.cancel()
            await asyncio.gather(leases, return_exceptions=True)
