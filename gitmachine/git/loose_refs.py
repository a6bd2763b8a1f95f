"""A session's refs, read and moved without a git process: a checkpoint after each command moves two or three.

The layout and the locking are git's own (gitrepository-layout(5), "refs"; api-lockfile): a ref is a file with an
object's name, replaced by renaming `<ref>.lock`, which nobody else can make meanwhile. What is not that simple,
deleting a ref or making room for another, is left to git.

A process that is killed leaves its lock, and git would wait for it for ever. So all of ours take turns by a lock that
ends with its holder (flock(2)): whoever has the turn and finds a `.lock` knows that its maker is dead.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gitmachine.git.parse import SHA

_PACKED = "packed-refs"
_TURN = "gm-turn"
_PREPARED = "gm-ref-"
_LOCK = b".lock"
_GIT_LIMIT_S = 5.0
"""A git of ours holds the lock of a ref for milliseconds."""


def read(repository: Path, prefix: str) -> dict[str, str]:
    """Object by full name of the refs below `prefix`, a directory's name with its slash. Blocks."""
    found = _packed(repository, prefix)
    root = os.fsencode(repository / prefix)
    for directory, _, files in os.walk(root):
        for file in files:
            if file.endswith(_LOCK):  # left by a process that died, or somebody's who is at work: never a ref
                continue
            path = os.path.join(directory, file)
            name = os.fsdecode(os.path.relpath(path, os.fsencode(repository)))
            with suppress(FileNotFoundError), open(path) as content:
                sha = content.read().strip()
                if SHA.fullmatch(sha):
                    found[name] = sha
    return found


def move(repository: Path, updates: Mapping[str, str], *, durable: bool) -> bool:
    """Sets refs in the order given; False, with nothing changed, when that is a case for git. Blocks.

    `durable` means on disk on return. A process that is killed in the middle has moved the first ones. Raises OSError
    when the disk is full or cannot be written.
    """
    if not all((repository / "objects" / sha[:2] / sha[2:]).exists() for sha in updates.values()):
        return False  # packed, borrowed or not there at all: git knows
    with _turn(repository):
        return _move(repository, updates, durable=durable)


@contextmanager
def _turn(repository: Path) -> Iterator[None]:
    """Nobody else of ours moves a ref meanwhile. Blocks, for as long as others have theirs: milliseconds."""
    with (repository / _TURN).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def clear(repository: Path, names: Iterable[str]) -> None:
    """Removes the locks that killed processes left on these refs. Blocks."""
    with _turn(repository):
        _clear(repository, names)


def _clear(repository: Path, names: Iterable[str]) -> None:
    for name in names:
        lock = (repository / name).with_name(f"{Path(name).name}.lock")
        with suppress(FileNotFoundError, NotADirectoryError):
            found = lock.stat()
            # One of ours is a second name of a file of ours. One of git's may be an orphan's that is still at work.
            if found.st_nlink > 1 or time.time() - found.st_mtime > _GIT_LIMIT_S:
                lock.unlink()


def _move(repository: Path, updates: Mapping[str, str], *, durable: bool) -> bool:
    _clear(repository, updates)
    written: list[Path] = []
    locks: list[tuple[Path, Path]] = []
    try:
        for name, sha in updates.items():
            target = repository / name
            lock = target.with_name(f"{target.name}.lock")
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
