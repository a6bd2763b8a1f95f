"""A session's refs, read and moved without a git process: a checkpoint after each command moves two or three.

The layout and the locking are git's own (gitrepository-layout(5), "refs"; api-lockfile): a ref is a file with an
object's name, replaced by renaming `<ref>.lock`, which nobody else can make meanwhile. What is not that simple,
deleting a ref or making room for another, is left to git.

A process that is killed leaves its lock, and git would wait for it in vain. So all of ours take turns by a lock that
ends with its holders (`gitmachine.git.turns`): whoever has the turn and finds a `.lock` knows that its maker is dead.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from gitmachine.git.parse import SHA
from gitmachine.git.turns import turn_at_once

_PACKED = "packed-refs"
TURN = "gm-turn"
"""The file in a repository by which those who move its refs take turns."""
_PREPARED = "gm-ref-"
_LOCK = ".lock"
_STRANGERS_LIMIT_S = 2.0
"""A git that a person runs in the vault holds the lock of a ref for milliseconds."""
_PAUSE_S = 0.01


def read(repository: Path, prefix: str) -> dict[str, str]:
    """Object by full name of the refs below `prefix`, a directory's name with its slash. Blocks."""
    found = _packed(repository, prefix)
    _read_below(os.fspath(repository), prefix.rstrip("/"), found)
    return found


def _read_below(repository: str, directory: str, found: dict[str, str]) -> None:
    try:
        entries = os.scandir(f"{repository}/{directory}")
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            name = f"{directory}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                _read_below(repository, name, found)
            elif not name.endswith(_LOCK):  # left by a process that died, or somebody's who is at work: never a ref
                with suppress(FileNotFoundError):
                    sha = _content(entry.path)
                    if SHA.fullmatch(sha):
                        found[name] = sha


def _content(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 100).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)


def move(repository: Path, updates: Mapping[str, str], *, durable: bool) -> bool:
    """Sets refs in the order given; False, with nothing changed, when that is a case for git. Blocks.

    `durable` means on disk on return. A process that is killed in the middle has moved the first ones. Raises
    BlockingIOError when it is another's turn, OSError when the disk is full or cannot be written.
    """
    if not all((repository / "objects" / sha[:2] / sha[2:]).exists() for sha in updates.values()):
        return False  # packed, borrowed or not there at all: git knows
    with turn_at_once(repository / TURN):
        return _move(repository, updates, durable=durable)


def clear(repository: Path, names: Iterable[str]) -> None:
    """Removes what killed processes left in the way of moving or deleting these refs. Expects the turn. Blocks."""
    _clear(repository / name for name in names)
    # Deleting rewrites packed-refs, through a file that git does not expect to be there.
    _clear([repository / _PACKED])
    (repository / f"{_PACKED}.new").unlink(missing_ok=True)


def _clear(files: Iterable[Path]) -> None:
    for file in files:
        lock = _lock_of(file)
        while _may_be_held(lock):
            time.sleep(_PAUSE_S)
        with suppress(NotADirectoryError):
            lock.unlink(missing_ok=True)


def _may_be_held(lock: Path) -> bool:
    """Ours is a second name of a file of ours, and with the turn held nobody's. Another may be a person's git's."""
    try:
        found = lock.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_nlink == 1 and abs(time.time() - found.st_mtime) < _STRANGERS_LIMIT_S


def _lock_of(ref: Path) -> Path:
    return ref.with_name(f"{ref.name}.lock")


def _move(repository: Path, updates: Mapping[str, str], *, durable: bool) -> bool:
    _clear(repository / name for name in updates)
    written: list[Path] = []
    locks: list[tuple[Path, Path]] = []
    try:
        for name, sha in updates.items():
            target = repository / name
            lock = _lock_of(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            written.append(_written(repository, sha, durable=durable))
            os.link(written[-1], lock)
            locks.append((lock, target))
        if any(target.is_dir() for _, target in locks):
            return False
        while locks:
            lock, target = locks[0]
            lock.replace(target)
            locks.pop(0)
        return True
    except (FileExistsError, NotADirectoryError):
        return False  # somebody holds a lock, or a ref stands where a directory is wanted
    finally:
        for path in (*(lock for lock, _ in locks), *written):
            path.unlink(missing_ok=True)


def _written(repository: Path, sha: str, *, durable: bool) -> Path:
    """A file with an object's name, outside of `refs`, where git would take it for a ref."""
    path = repository / f"{_PREPARED}{secrets.token_hex(6)}"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{sha}\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _packed(repository: Path, prefix: str) -> dict[str, str]:
    """What a `git pack-refs` that somebody ran has put together."""
    try:
        lines = (repository / _PACKED).read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split(" ", 1) for line in lines if line[:1] not in ("#", "^"))
    return {name: sha for sha, name in pairs if name.startswith(prefix)}
