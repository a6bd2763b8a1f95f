"""What our figures are held against: the same job with nothing but bubblewrap and git."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gitmachine.machines.local.probe import BWRAP_ENVIRONMENT, bwrap_path
from gitmachine.machines.local.user import machine_user

_BARE = "--unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup --ro-bind / / true"


async def bare_bwrap() -> None:
    """An empty sandbox, from start to end."""
    user = machine_user()
    process = await asyncio.create_subprocess_exec(
        bwrap_path(),
        *_BARE.split(),
        env=BWRAP_ENVIRONMENT,
        user=user.uid if user.switch else None,
        group=user.gid if user.switch else None,
        extra_groups=[] if user.switch else None,
    )
    assert await process.wait() == 0


async def bare_shell() -> None:
    """The shell that a machine starts for a command, started by asyncio alone."""
    argv = ("/bin/bash", "-c", "true")
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    await process.communicate()
    assert process.returncode == 0


async def shell(command: str, cwd: Path) -> None:
    """A command as anybody would run it by hand, its output read."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The base URL of a git server over HTTP for the bare repositories in `root`, in a process of its own."""
    argv = [sys.executable, "-m", "bench.serving", str(root)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.communicate()  # its standard input closes, which ends it
