"""A session's refs, read and moved without a git process: a checkpoint after each command moves two or three.

The layout and the locking are git's own (gitrepository-layout(5), "refs"; api-lockfile): a ref is a file with an
object's name, replaced by renaming `<ref>.lock`, which nobody else can make meanwhile. What is not that simple,
deleting a ref or making room for another, is left to git.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gitmachine.git.parse import SHA

_PACKED = "packed-refs"


def read(repository: Path, prefix: str) -> dict[str, str]:
    """Object by full name of the refs below `prefix`, a directory's name with its slash. Blocks."""
    found = _packed(repository, prefix)
    root = os.fsencode(repository / prefix)
    for directory, _, files in os.walk(root):
        for file in files:
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
    locks: list[tuple[Path, Path]] = []
    try:
        for name, sha in updates.items():
            target = repository / name
            lock = target.with_name(f"{target.name}.lock")
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            locks.append((lock, target))
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{sha}\n")
                file.flush()
                if durable:
                    os.fsync(file.fileno())
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
        for lock, _ in locks:
            lock.unlink(missing_ok=True)


def _packed(repository: Path, prefix: str) -> dict[str, str]:
    """What a `git pack-refs` that somebody ran has put together."""
    try:
        lines = (repository / _PACKED).read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split(" ", 1) for line in lines if line[:1] not in ("#", "^"))
    return {name: sha for sha, name in pairs if name.startswith(prefix)}
