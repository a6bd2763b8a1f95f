"""A session's refs, read and moved without a git process: a checkpoint after each command moves two or three.

The layout and the locking are git's own (gitrepository-layout(5), "refs"; api-lockfile): a ref is a file with an
object's name, replaced by renaming `<ref>.lock`, which nobody else can make meanwhile. What is not that simple,
deleting a ref or making room for another, is left to git.

Each ref has two files by turns: the one that it was in before is the one that its next value is written into. A new
file each time would cost more than all the rest, and a power cut could leave it empty; this one has an older value.

A process that is killed leaves its lock, and git would wait for it in vain. So all of ours take turns by a lock that
ends with its holders (`gitmachine.git.turns`): whoever has the turn and finds a `.lock` knows that its maker is dead.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from gitmachine.git.loose import write_all
from gitmachine.git.parse import SHA
from gitmachine.git.turns import turn_at_once

_PACKED = "packed-refs"
TURN = "gm-turn"
"""The file in a repository by which those who move its refs take turns."""
_PREPARED = "gm-refs"
"""The directory of the files that the next values go into. Not below `refs`, where git would take them for refs."""
_SIZE = 41
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
    if not all(os.path.exists(f"{repository}/objects/{sha[:2]}/{sha[2:]}") for sha in updates.values()):
        return False  # packed, borrowed or not there at all: git knows
    with turn_at_once(repository / TURN):
        return _move(os.fspath(repository), updates, durable=durable)


def clear(repository: Path, names: Iterable[str]) -> None:
    """Removes what is in the way of moving or deleting these refs, and their second files. Expects the turn. Blocks."""
    for name in names:
        _clear([f"{repository}/{name}"])
        _remove(_second(os.fspath(repository), name))
    # Deleting rewrites packed-refs, through a file that git does not expect to be there.
    _clear([f"{repository}/{_PACKED}"])
    (repository / f"{_PACKED}.new").unlink(missing_ok=True)


def _clear(files: Iterable[str]) -> None:
    for file in files:
        lock = f"{file}{_LOCK}"
        while (found := _found(lock)) is not None:
            if not _may_be_held(found):
                _remove(lock)
                break
            time.sleep(_PAUSE_S)


def _found(lock: str) -> os.stat_result | None:
    try:
        return os.stat(lock)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _may_be_held(lock: os.stat_result) -> bool:
    """Ours is a second name of a file of ours, and with the turn held nobody's. Another may be a person's git's."""
    return lock.st_nlink == 1 and abs(time.time() - lock.st_mtime) < _STRANGERS_LIMIT_S


def _move(repository: str, updates: Mapping[str, str], *, durable: bool) -> bool:
    _clear(f"{repository}/{name}" for name in updates)
    locked: list[tuple[str, str]] = []
    try:
        for name, sha in updates.items():
            prepared = _prepared(repository, name, sha, durable=durable)
            _link(prepared, f"{repository}/{name}{_LOCK}")
            locked.append((prepared, f"{repository}/{name}"))
        if any(os.path.isdir(target) for _, target in locked):
            return False
        while locked:
            _replace(*locked[0])
            locked.pop(0)
        return True
    except (FileExistsError, NotADirectoryError):
        return False  # somebody holds a lock, or a ref stands where a directory is wanted
    finally:
        for _, target in locked:
            _remove(f"{target}{_LOCK}")


def _second(repository: str, name: str) -> str:
    return f"{repository}/{_PREPARED}/{hashlib.sha1(os.fsencode(name), usedforsecurity=False).hexdigest()}"


def _prepared(repository: str, name: str, sha: str, *, durable: bool) -> str:
    """The file of a ref's next value, written."""
    path = _second(repository, name)
    descriptor = _opened(path)
    try:
        write_all(descriptor, f"{sha}\n".encode())
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


def _opened(path: str) -> int:
    """The file at `path`, if it is whole and no ref's; else a new one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    else:
        found = os.fstat(descriptor)
        if found.st_nlink == 1 and found.st_size == _SIZE:
            return descriptor
        os.close(descriptor)
        os.unlink(path)
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)


def _replace(prepared: str, target: str) -> None:
    """Makes the prepared file, which the lock is a name of, the ref, and the file of the ref the prepared one."""
    kept = f"{prepared}.old"
    _remove(kept)
    with suppress(FileNotFoundError):
        os.link(target, kept)
    os.replace(f"{target}{_LOCK}", target)
    try:
        os.replace(kept, prepared)
    except FileNotFoundError:  # the ref is new
        _remove(prepared)


def _link(file: str, lock: str) -> None:
    try:
        os.link(file, lock)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(lock), exist_ok=True)
        os.link(file, lock)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _packed(repository: Path, prefix: str) -> dict[str, str]:
    """What a `git pack-refs` that somebody ran has put together."""
    try:
        lines = (repository / _PACKED).read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split(" ", 1) for line in lines if line[:1] not in ("#", "^"))
    return {name: sha for sha, name in pairs if name.startswith(prefix)}
