"""A turn: a lock on a file that a git process of ours holds together with us.

flock(2) belongs to the open file description, and a child that inherits the descriptor shares it. So a turn lasts
until the last of them has ended: whoever has it next knows that the git of a killed program has ended too, and that
every `.lock` which that git left is nobody's.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from gitmachine.git.host import HostGit
from gitmachine.queues import queue_of

T = TypeVar("T")

_LIMIT_S = 60.0
"""A turn is milliseconds, but for a disk that takes its time."""
_PAUSE_S = 0.002


@asynccontextmanager
async def turn(path: Path) -> AsyncIterator[HostGit]:
    """The git that has this turn. Raises TimeoutError when another program keeps it for a minute."""
    async with queue_of(path):
        deadline = time.monotonic() + _LIMIT_S
        with path.open("ab") as file:
            while not _taken(file):
                _give_up_after(deadline, path)
                await asyncio.sleep(_PAUSE_S)
            try:
                yield HostGit(holding=(file.fileno(),))
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def turn_at_once(path: Path) -> Iterator[None]:
    """The same for what needs no git. Raises BlockingIOError when it is somebody else's turn.

    A thread must not wait for it: who has the turn may need one of the few threads to come to its end.
    """
    with path.open("ab") as file:
        if not _taken(file):
            raise BlockingIOError(errno.EAGAIN, f"another has the turn of {path}")
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


async def in_turn(path: Path, work: Callable[[], T]) -> T:
    """What `work`, which blocks and takes the turn at once, comes to in the end. Raises TimeoutError as `turn`."""
    async with queue_of(path):
        deadline = time.monotonic() + _LIMIT_S
        while True:
            try:
                return await asyncio.to_thread(work)
            except BlockingIOError:
                _give_up_after(deadline, path)
                await asyncio.sleep(_PAUSE_S)


def _taken(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _give_up_after(deadline: float, path: Path) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(errno.ETIMEDOUT, f"another program has held {path} for {_LIMIT_S:g} s")
