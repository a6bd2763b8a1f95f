"""Processes as the host's /proc shows them: who they are, whether they live, how to end them for sure."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

STOPPED = "T"


def read_small(path: str, size: int = 4096) -> str | None:
    """A file of /proc or /sys, which never blocks; None when it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, size).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(fd)


@functools.cache
def boot_id() -> str:
    """The kernel's name for this boot: process numbers mean nothing after another. No program outlives it."""
    return (read_small("/proc/sys/kernel/random/boot_id") or "").strip()


def stat_of(pid: int) -> tuple[str, int] | None:
    """State letter and start time in clock ticks (proc_pid_stat(5), fields 3 and 22)."""
    text = read_small(f"/proc/{pid}/stat")
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()
    return (fields[0], int(fields[19])) if len(fields) > 19 else None


def is_alive(pid: int, start_time: int) -> bool:
    """The very process, and not a zombie of it: a slow init can leave one for a long time."""
    found = stat_of(pid)
    return found is not None and found[1] == start_time and found[0] not in "ZX"


async def kill(
    pid: int, start_time: int, *, then: Callable[[], Awaitable[None]] | None = None, timeout: float = 10.0
) -> bool:
    """SIGKILL to that process and nobody else; waits until it has ended. False when it has not in time.

    `then` is done between the signal and the wait.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        # Checked after the pidfd was taken: from here on the number cannot come to mean another process.
        if not is_alive(pid, start_time):
            return True
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if then is not None:
            await then()
        return await _readable(pidfd, timeout)
    finally:
        os.close(pidfd)


async def _readable(fd: int, timeout: float) -> bool:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        async with asyncio.timeout(timeout):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(fd)
    return True


def namespace_members(pid: int) -> list[int]:
    """All processes in the pid namespace of `pid` and of its children, by their numbers here."""
    try:
        wanted = os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if os.readlink(f"/proc/{entry.name}/ns/pid") == wanted:
                    found.append(int(entry.name))
    return found
