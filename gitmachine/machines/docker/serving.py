"""The process of a container's proxy, on the host: connections of the machine come to it through a relay of its own.

So it needs no more of an engine than commands do, and works for one elsewhere, too. Started by `launching.py`. It talks
to the engine first; as root it then becomes an ordinary user, before it reads the first byte from the machine. It ends
with the container, whose end is the relay's.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import Any

from gitmachine.errors import MachineError
from gitmachine.machines.docker.engine import Engine
from gitmachine.machines.docker.line import Line, held_line
from gitmachine.machines.docker.passage import Passage
from gitmachine.machines.docker.plan import RELAY_COMMAND
from gitmachine.network import launching, serving
from gitmachine.network.proxy import Proxy
from gitmachine.network.requests import MAX_HEAD_BYTES


def main() -> None:
    """Ends when the machine does."""
    settings = serving.settings_given()
    serving.prepare()
    try:
        asyncio.run(_serve(settings))
    except MachineError as error:
        sys.exit(str(error))


async def _serve(settings: dict[str, Any]) -> None:
    proxy = serving.proxy_of(settings)
    served = asyncio.current_task()
    assert served is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, served.cancel)
    command = (*RELAY_COMMAND, str(launching.PORT))
    async with Engine(settings["host"]).client() as docker:
        container = docker.containers.container(settings["container"])
        async with held_line(container, command, settings["relay"], _taker(proxy)) as line:
            serving.become_ordinary(settings["user"])
            running = asyncio.ensure_future(line.run())
            await line.ready()
            serving.tell_ready(settings["ready"])
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await running
            finally:
                await proxy.close()


def _taker(proxy: Proxy) -> Any:
    def accepted(line: Line, number: int) -> Passage:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES, loop=loop)
        return Passage(line, number, asyncio.StreamReaderProtocol(reader, proxy.take, loop=loop))

    return accepted
