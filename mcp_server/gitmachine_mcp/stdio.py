"""The server on standard input and output, and its ends: end of input, SIGTERM, SIGINT, SIGHUP.

The SDK's own runner dies of SIGTERM without closing its lifespan, and after SIGINT it waits for ever for the thread
that reads the input. Here each of them closes the lifespan, so that sessions are safe, and then the process ends for
sure, also when nobody reads its output any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

import anyio

from gitmachine_mcp.options import Options
from gitmachine_mcp.server import CLOSING_LIMIT_S, build_server

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LAST_WORDS_S = 0.3
"""For what is still to be written once the sessions are safe."""


def run(options: Options) -> None:
    """Serves until the input ends or a signal comes; after a signal it ends the process with 128 + its number."""
    try:
        anyio.run(partial(_serve, options), backend="asyncio")
    except* OSError:  # the client closed the pipe that it should read
        os._exit(0)


async def _serve(options: Options) -> None:
    loop = asyncio.get_running_loop()
    code = 0

    def leave_within(seconds: float) -> None:
        loop.call_later(seconds, lambda: os._exit(code))

    server = build_server(options, on_closed=lambda: leave_within(_LAST_WORDS_S))
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            nonlocal code
            with anyio.open_signal_receiver(*_SIGNALS) as signals:
                async for number in signals:
                    code = 128 + number
                    leave_within(CLOSING_LIMIT_S + _LAST_WORDS_S)
                    tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        await server.run_stdio_async()
        tasks.cancel_scope.cancel()
    if code:
        os._exit(code)
