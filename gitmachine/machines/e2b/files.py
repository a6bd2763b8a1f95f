"""File calls: the SDK's failures as those of the operating system, and content in pieces."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO

from gitmachine.errors import FileError, MachineError, MachineLost, MachineUnreachable

CHUNK_BYTES = 1024 * 1024


@contextmanager
def named(path: str, *, directory: bool = False) -> Iterator[None]:
    """Failures about a file, as OSErrors that name it. `directory` says that one was wanted."""
    try:
        yield
    except (MachineLost, MachineUnreachable):
        raise
    except MachineError as error:
        said = str(error.__cause__).lower()
        match type(error.__cause__).__name__:
            case "FileNotFoundException" | "NotFoundException":
                raise FileNotFoundError(errno.ENOENT, "no such file in the machine", path) from error
            case "InvalidArgumentException" if directory and "director" in said:
                raise NotADirectoryError(errno.ENOTDIR, "is not a directory in the machine", path) from error
            case "InvalidArgumentException" if "director" in said:
                raise IsADirectoryError(errno.EISDIR, "is a directory in the machine", path) from error
        raise FileError(f"{path!r} in the machine: {error}") from error


async def chunks(content: IO[bytes]) -> AsyncIterator[bytes]:
    """A file of this host from its beginning, a piece at a time."""
    await asyncio.to_thread(content.seek, 0)
    while data := await asyncio.to_thread(content.read, CHUNK_BYTES):
        yield data


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    """Bytes a piece at a time: what is sent so is bounded by no deadline for the whole."""
    for at in range(0, len(content), CHUNK_BYTES):
        yield content[at : at + CHUNK_BYTES]
