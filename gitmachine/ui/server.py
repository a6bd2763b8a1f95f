"""A socket on the loopback, and the page behind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from gitmachine.errors import ConfigurationError
from gitmachine.ui.app import Page
from gitmachine.ui.entrance import Entrance

_LOOPBACK = "127.0.0.1"
_GRACE_S = 1


class _Server(uvicorn.Server):
    """Leaves signals to the command that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def listen(port: int, on_ready: Callable[[str], None]) -> None:
    """As `gitmachine.ui.serve`."""
    with _bound(port) as listener:
        page = Page()
        port = listener.getsockname()[1]
        entrance = Entrance(page.app, port)
        config = uvicorn.Config(
            entrance, log_level="warning", access_log=False, lifespan="off", ws="none", server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=_GRACE_S,
        )  # fmt: skip
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        on_ready(f"http://{_LOOPBACK}:{port}{entrance.invitation}")
        try:
            await asyncio.shield(serving)
        finally:
            page.close()
            server.should_exit = True
            await serving


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"port {port} of {_LOOPBACK} cannot be used: {error.strerror}; give another with --port, or 0 for any"
        ) from error
    return listener
