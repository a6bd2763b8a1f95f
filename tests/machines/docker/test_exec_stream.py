"""An `exec`'s stream is closed also when its opening fails; aiodocker warns of one that is not."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiodocker
import pytest
from aiodocker.execs import Exec

from gitmachine.machines.docker.exec_stream import begun

_HANGS_UP = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_STALLS = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory, "engine.sock")


async def _begin(socket: Path, answer: bytes, answered: asyncio.Event) -> None:
    """Begins an `exec` at an engine that answers so instead of upgrading the connection."""

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        answered.set()
        if answer is _STALLS:
            await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(engine, socket)
    engine_client = aiodocker.Docker(f"unix://{socket}", api_version="v1.41")
    async with server, engine_client, begun(Exec(engine_client, "some-exec", tty=False)):
        pytest.fail("there was no stream to begin")


@pytest.mark.filterwarnings("error::ResourceWarning")
async def test_a_stream_that_the_engine_hung_up_at_once_is_closed(socket: Path) -> None:
    with pytest.raises(aiodocker.DockerError, match="closed underlying socket"):
        await _begin(socket, _HANGS_UP, asyncio.Event())
    gc.collect()


@pytest.mark.filterwarnings("error::ResourceWarning")
async def test_a_stream_whose_beginning_is_cancelled_is_closed(socket: Path) -> None:
    answered = asyncio.Event()
    beginning = asyncio.create_task(_begin(socket, _STALLS, answered))
    async with asyncio.timeout(20):
        await answered.wait()
    for _ in range(5):  # as far as the answer's body, which does not come
        await asyncio.sleep(0)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    gc.collect()
