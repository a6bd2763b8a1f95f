"""The server over streamable HTTP, on the loopback unless the operator says otherwise in full."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from dataclasses import dataclass
from ipaddress import ip_address

from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gitmachine.errors import ConfigurationError
from gitmachine_mcp.options import Options
from gitmachine_mcp.presence import Presence
from gitmachine_mcp.server import build_server, version
from gitmachine_mcp.tokens import Tokens

PATH = "/mcp"
_GRACE_S = 1
"""For requests in flight, before their connections are closed."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen, and to whom."""

    host: str = "127.0.0.1"
    port: int = 8765
    tokens: Tokens | None = None
    """None: anybody who can connect may call. Only on the loopback, and only when the operator insists."""
    allowed_hosts: tuple[str, ...] = ()
    """Values of the Host header, besides the loopback's; `name:*` for any port."""
    allowed_origins: tuple[str, ...] = ()

    def security(self) -> TransportSecuritySettings:
        """The SDK checks Host and Origin by itself on the loopback only; here it always does."""
        hosts, origins = list(self.allowed_hosts), list(self.allowed_origins)
        if is_loopback(self.host):
            names = ("127.0.0.1", "localhost", "[::1]")
            hosts += [f"{name}:*" for name in names]
            origins += [f"http://{name}:*" for name in names]
        return TransportSecuritySettings(
            enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=origins
        )

    def check(self) -> None:
        """Raises ConfigurationError when this would let in whom nobody meant to let in."""
        if is_loopback(self.host):
            return
        if self.tokens is None:
            raise ConfigurationError(f"listening on {self.host} without a token lets anybody in: give --token-file")
        if not self.allowed_hosts:
            raise ConfigurationError(
                f"listening on {self.host} needs --allowed-host: the names by which clients reach this server"
            )


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def run(options: Options, listening: Listening) -> None:
    """Serves until a signal comes. Says on standard error where it listens. Raises ConfigurationError."""
    listening.check()
    asyncio.run(_serve(options, listening))


async def _serve(options: Options, listening: Listening) -> None:
    import uvicorn

    server = build_server(options, access=listening.tokens.access() if listening.tokens else None)

    server.custom_route("/healthz", methods=["GET"], include_in_schema=False)(_healthz)
    app = server.streamable_http_app(
        streamable_http_path=PATH, host=listening.host, transport_security=listening.security()
    )
    app.add_middleware(Presence)
    config = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=_GRACE_S, ws="none", server_header=False
    )
    listener = _bound(listening)
    runner = uvicorn.Server(config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: runner.handle_exit(signal.SIGHUP, None))
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stderr.write(f"gitmachine-mcp: listening on http://{shown}:{port}{PATH}\n")
    sys.stderr.flush()
    await runner.serve(sockets=[listener])


async def _healthz(request: Request) -> Response:
    del request
    return JSONResponse({"status": "ok", "version": version()})


def _bound(listening: Listening) -> socket.socket:
    """Raises ConfigurationError."""
    try:
        found = socket.getaddrinfo(listening.host, listening.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(found[4][:2], family=found[0], backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {listening.host} port {listening.port}: {error.strerror}; choose another --port"
        ) from error
