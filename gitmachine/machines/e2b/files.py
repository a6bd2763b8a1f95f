"""File calls: the SDK's failures as those of the operating system, and content in pieces."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO, Any

from gitmachine.errors import FileError, MachineError, MachineLost, MachineUnreachable
from gitmachine.types import ExecutionResult

CHUNK_BYTES = 1024 * 1024


@contextmanager
def named(path: str) -> Iterator[None]:
    """Failures about a file, as OSErrors that name it."""
    try:
        yield
    except (MachineLost, MachineUnreachable):
        raise
    except MachineError as error:
        said = str(error.__cause__).lower()
        match type(error.__cause__).__name__:
            case "FileNotFoundException" | "NotFoundException":
                raise FileNotFoundError(errno.ENOENT, "no such file in the machine", path) from error
            case "InvalidArgumentException" if "director" in said:
                raise IsADirectoryError(errno.EISDIR, "is a directory in the machine", path) from error
        raise FileError(f"{path!r} in the machine: {error}") from error


def listing(path: str) -> str:
    """A script that lists a directory."""
    target = shlex.quote(path if path.startswith("/") else f"./{path}")
    return (
        f"[ -e {target} ] || exit {errno.ENOENT}; [ -d {target} ] || exit {errno.ENOTDIR}; "
        f"cd -- {target} && find . -mindepth 1 -maxdepth 1 -printf '%f\\0' | base64 -w 0"
    )


def listed(result: ExecutionResult, path: str) -> list[str]:
    """The names that it found, sorted."""
    match result.exit_code:
        case 0:
            names = base64.b64decode(result.stdout).split(b"\0")
            return sorted(os.fsdecode(name) for name in names if name)
        case errno.ENOENT:
            raise FileNotFoundError(errno.ENOENT, "no such file in the machine", path)
        case errno.ENOTDIR:
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory in the machine", path)
    raise FileError(f"{path!r} in the machine: {result.stderr.strip() or f'exit code {result.exit_code}'}")


async def fetched(box: Any, path: str, into: IO[bytes]) -> None:
    """A file of the sandbox into one of this host, from its beginning, a piece at a time."""
    await asyncio.to_thread(into.seek, 0)
    async with await box.files.read(path, format="stream") as arriving:
        async for data in arriving:
            await asyncio.to_thread(into.write, data)
    await asyncio.to_thread(into.truncate)


async def chunks(content: IO[bytes]) -> AsyncIterator[bytes]:
    """A file of this host from its beginning, a piece at a time."""
    await asyncio.to_thread(content.seek, 0)
    while data := await asyncio.to_thread(content.read, CHUNK_BYTES):
        yield data


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    """Bytes a piece at a time: what is sent so is bounded by no deadline for the whole."""
    for at in range(0, len(content), CHUNK_BYTES):
        yield content[at : at + CHUNK_BYTES]
