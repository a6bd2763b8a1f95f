"""Keeps the whole output of a command in its machine when a message can hold only head and tail of it.

In the machine, because there the agent's own tools (grep, sed, tail) can read it, and outside the repository.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from gitmachine import ExecutionResult, GitMachine, GitMachineError

DIRECTORY = "/tmp/gitmachine/output"  # noqa: S108  # in the machine, which has a /tmp of its own
KEPT_FILES = 10
KEPT_BYTES = 32 * 1024 * 1024
"""Of one command's output; the file ends there."""
_CHUNK_BYTES = 1024 * 1024
_REMOVE_OLDEST = f"cd {DIRECTORY} && ls -t | tail -n +{KEPT_FILES + 1} | xargs -r rm -f --"


async def keep(gm: GitMachine, result: ExecutionResult, path: str | None = None) -> str | None:
    """The file in the machine that has all of it; None when the machine had no room.

    Without a `path` the file gets a name in DIRECTORY, from which the oldest files are removed.
    """
    place = path or f"{DIRECTORY}/{uuid.uuid4().hex[:8]}.txt"
    try:
        if result.output_path is not None:
            await gm.machine.write_bytes(place, _pieces(Path(result.output_path)))
        else:
            await gm.machine.write_file(place, (result.stdout + result.stderr).encode("utf-8", "replace"))
        if path is None:
            await gm.machine.execute(_REMOVE_OLDEST)
    except (GitMachineError, OSError):
        return None
    return place


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    for start in range(0, KEPT_BYTES, _CHUNK_BYTES):
        piece = await asyncio.to_thread(_read, path, start)
        if not piece:
            return
        yield piece


def _read(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(_CHUNK_BYTES)
