"""A git that is killed leaves its lock files, and every later one stops at them: lockfile.h in git's sources.

Where a lock of our own cannot tell whether that git lives (a fetch may leave a credential daemon behind, which would
inherit it), its age does.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gitmachine.errors import GitError

_T = TypeVar("_T")

DEAD_AFTER_S = 3.0
"""A living git holds such a lock for milliseconds."""
PATIENCE = ("-c", "core.filesRefLockTimeout=1000", "-c", "core.packedRefsTimeout=1000")
"""How long git itself waits before it complains, where none of ours can be in its way."""
_ROUNDS = 4
"""It stops at the lock of a ref, of packed-refs, of the shallow file, one after another."""
_PAUSE_S = 0.05
_IN_THE_WAY = re.compile(r"nable to create (?:file )?'?(/[^'\n]+(?:\.lock|/packed-refs\.new))'?: File exists")


async def past_left_locks(work: Callable[[], Awaitable[_T]], repository: Path) -> _T:
    """What `work` gives; when git stops at dead locks in `repository`, they are removed and it is done again."""
    for _ in range(_ROUNDS):
        try:
            return await work()
        except GitError as error:
            # The remote has a say in what git prints: nothing but locks, and none outside of the repository.
            named = [Path(name) for name in _IN_THE_WAY.findall(error.stderr)]
            locks = [path for path in named if path.is_relative_to(repository) and ".." not in path.parts]
            if not locks:
                raise
            for lock in locks:
                await _remove(lock)
    return await work()


async def _remove(lock: Path) -> None:
    while True:
        if await asyncio.to_thread(_removed, lock):
            return
        await asyncio.sleep(_PAUSE_S)


def _removed(lock: Path) -> bool:
    with suppress(FileNotFoundError):
        if abs(time.time() - lock.stat().st_mtime) < DEAD_AFTER_S:
            return False
        lock.unlink()
    return True
