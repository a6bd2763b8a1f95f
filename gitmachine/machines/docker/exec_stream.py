"""The stream of an `exec`, closed whatever becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiodocker.execs import Exec
    from aiodocker.stream import Stream


@asynccontextmanager
async def begun(execution: Exec) -> AsyncIterator[Stream]:
    """Begins an `exec`; its stream, up to the end of the block."""
    stream = execution.start(detach=False)
    try:
        # Its own `async with` would close it only once it has begun: not after a cancellation on the way there, nor
        # when the engine hung up at once, and then its check that there is a connection to close fails, too.
        await stream.__aenter__()
        yield stream
    finally:
        with suppress(AssertionError):
            await stream.close()


async def write(stream: Stream, data: bytes) -> None:
    """Sends input. Raises ConnectionError when the engine has hung up, which aiodocker has an assertion for."""
    try:
        await stream.write_in(data)
    except (AssertionError, RuntimeError) as error:
        raise ConnectionResetError("the engine has ended the connection to the exec") from error
