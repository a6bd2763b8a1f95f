"""What a test run may have left behind: processes, mounts, files.

Everything that a run makes lies below one directory of its own (`TMPDIR` points there, for us and for our
children), so its path is the mark by which the run's leavings are told from anybody else's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

BUILDER_LIMIT_S = 60.0
"""How long the builder of a spare home may still be at work after the test that started it."""
EXIT_LIMIT_S = 5.0
"""How long a killed process may take to disappear."""
_POLL_S = 0.01


def processes(mark: str) -> list[str]:
    """Live processes that know the directory `mark`: by command line, environment, directory or mounts."""
    found = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid != os.getpid() and _alive(pid) and any(mark.encode() in text for text in _traces(pid)):
            found.append(f"{pid}: {_read(pid, 'cmdline').replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def _alive(pid: int) -> bool:
    stat = _read(pid, "stat")
    return bool(stat) and stat.rpartition(b") ")[2][:1] not in (b"Z", b"X")


def _traces(pid: int) -> list[bytes]:
    texts = [_read(pid, name) for name in ("cmdline", "environ", "mountinfo")]
    with suppress(OSError):  # another user's, or just gone
        texts.append(os.readlink(f"/proc/{pid}/cwd").encode())
    return texts


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def mounts(mark: str) -> list[str]:
    """Mounts of this process's namespace at or from below `mark`."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if mark in line]


def wait_for_builders(state: Path) -> None:
    """Waits for the builders of spare homes below `state`, each of which holds a file lock while it works."""
    for lock in state.glob("spares/*/*/lock"):
        assert until(partial(_unlocked, lock), BUILDER_LIMIT_S), f"{lock} is still held"


def _unlocked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True


def until(condition: Callable[[], bool], limit: float) -> bool:
    """Whether `condition` came true within `limit` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def assert_nothing_runs(mark: str) -> None:
    """Fails when a process or a mount below `mark` is left."""
    until(lambda: not processes(mark), EXIT_LIMIT_S)
    assert not (left := processes(mark)), "processes left behind:\n" + "\n".join(left)
    assert not (left := mounts(mark)), "mounts left behind:\n" + "\n".join(left)


def remove_tree(path: Path) -> None:
    """Removes a directory, also one with directories in it that its owner may not enter."""
    for directory, names, _ in os.walk(path):
        for name in names:
            child = Path(directory, name)
            if not child.is_symlink():
                child.chmod(0o700)
    shutil.rmtree(path)
