"""The proxy's process on a host that shares the machine's kernel: it serves one machine, and ends with it.

Started by `launching.py` with its settings as JSON in a file in memory. As root it becomes the machine's user before
it reads the first byte from the machine.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - loaded before rights are given up, as the rest of what is needed late
import encodings.idna  # noqa: F401
import json
import os
import resource
import signal
import socket
import sys
import traceback  # noqa: F401
from contextlib import suppress
from typing import Any

from gitmachine.network.journal import Journal
from gitmachine.network.policy import AllowList
from gitmachine.network.proxy import MAX_CONNECTIONS, Proxy

_DESCRIPTORS = 2 * MAX_CONNECTIONS + 128


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since the boot (proc_pid_stat(5), field 22)."""
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
    return None


def settings_given() -> dict[str, Any]:
    """What `launching.py` has passed by the descriptor in the first argument."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        settings: dict[str, Any] = json.load(file)
    return settings


def become_ordinary(user: list[int] | None) -> None:
    """Gives up root's rights, where the settings name a user."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user[1], user[1], user[1])
        os.setresuid(user[0], user[0], user[0])


def prepare() -> None:
    """Room for the connections of a machine; no interrupt of a terminal is meant for this process."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def proxy_of(settings: dict[str, Any]) -> Proxy:
    """The proxy that the settings describe."""
    return Proxy(AllowList.parse(settings["allowed"]), Journal(settings["journal"]).add)


def tell_ready(fd: int) -> None:
    """Says who we are to whoever waits for us."""
    os.write(fd, json.dumps([os.getpid(), start_time(os.getpid())]).encode() + b"\n")
    os.close(fd)


def main() -> None:
    """Ends when the machine does."""
    settings = settings_given()
    become_ordinary(settings["user"])
    prepare()
    asyncio.run(_serve(settings))


async def _serve(settings: dict[str, Any]) -> None:
    machine, began = settings["machine"]
    try:
        pidfd = os.pidfd_open(machine)
    except ProcessLookupError:
        return
    if start_time(machine) != began:
        return
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, stop.set)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    proxy = proxy_of(settings)
    listener = socket.socket(fileno=settings["listener"])
    listener.setblocking(False)
    tell_ready(settings["ready"])
    await proxy.serve(listener, stop)
