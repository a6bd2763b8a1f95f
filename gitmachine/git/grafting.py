"""A tree made from another by changing a few files: the objects that are new, without a git process.

The format is git's own ("Git Objects" in the git book; `base_name_compare` in git's tree-walk.c for the order): a
line an entry, `<mode> <name>NUL<20 bytes>`, a directory sorted as if its name ended with a slash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gitmachine.git.loose import object_name
from gitmachine.git.parse import NO_SHA, Change

DIRECTORY = "40000"
FILE_MODES = ("100644", "100755", "120000")

_NO_MODE = "000000"
_PLAIN_NAME = re.compile(rb"[A-Za-z0-9._+=@, -]{1,255}")


class Ungraftable(Exception):
    """These changes are a case for git itself."""


@dataclass(frozen=True, slots=True)
class Edits:
    """What changed in a working tree: mode and object by path, None for a file that is gone."""

    files: Mapping[bytes, tuple[str, str] | None]
    blobs: Mapping[str, bytes]
    """The contents that came along, by the name that they were found to have."""


@dataclass(slots=True)
class Graft:
    """A new tree, with what must be written for it and what is different in it."""

    tree: str
    objects: dict[str, bytes] = field(default_factory=dict)
    """The content of each new tree object, by name."""
    changes: list[Change] = field(default_factory=list)


def directories(edits: Edits) -> list[bytes]:
    """The directories in which something changes, the top one left out, each after the one it is in."""
    found = {path[:at] for path in edits.files for at, byte in enumerate(path) if byte == ord("/")}
    return sorted(found)


def graft(root: str, known: Mapping[str, bytes], edits: Edits) -> Graft:
    """The tree `root` with the edits made; `known` has the contents of the trees on the way.

    Raises Ungraftable for names that git has opinions on, and for edits that do not fit the tree.
    """
    made = Graft(root)
    for path in edits.files:
        _check(path)
    tree = _grafted(root, edits.files, b"", known, made)
    made.tree = tree or object_name("tree", b"")
    if tree is None:
        made.objects[made.tree] = b""
    made.changes.sort(key=lambda change: change.path)
    return made


def parsed(content: bytes) -> dict[bytes, tuple[str, str]]:
    """Mode and object by name, from the content of a tree object."""
    entries: dict[bytes, tuple[str, str]] = {}
    at = 0
    while at < len(content):
        space = content.index(b" ", at)
        end = content.index(b"\0", space)
        entries[content[space + 1 : end]] = (content[at:space].decode(), content[end + 1 : end + 21].hex())
        at = end + 21
    return entries


def composed(entries: Mapping[bytes, tuple[str, str]]) -> bytes:
    """The content of a tree object with these entries."""
    ordered = sorted(entries.items(), key=lambda item: item[0] + b"/" if item[1][0] == DIRECTORY else item[0])
    return b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for name, (mode, sha) in ordered)


def _grafted(
    sha: str | None, plan: Mapping[bytes, tuple[str, str] | None], where: bytes, known: Mapping[str, bytes], made: Graft
) -> str | None:
    """The name of the directory's new tree; None when nothing is left in it."""
    if sha is not None and sha not in known:
        raise Ungraftable(f"the tree {sha} is not at hand")
    entries = parsed(known[sha]) if sha is not None else {}
    here = {path: entry for path, entry in plan.items() if b"/" not in path}
    below: dict[bytes, dict[bytes, tuple[str, str] | None]] = {}
    for path, entry in plan.items():
        if path not in here:
            name, _, rest = path.partition(b"/")
            below.setdefault(name, {})[rest] = entry
    for name in sorted(path for path, entry in here.items() if entry is None):
        _remove(entries, name, where, made)
    for name, inner in below.items():
        old = entries.get(name)
        if old is not None and old[0] != DIRECTORY:
            raise Ungraftable(f"{name!r} is a file and a directory")
        tree = _grafted(old[1] if old else None, inner, where + name + b"/", known, made)
        entries.pop(name, None)
        if tree is not None:
            entries[name] = (DIRECTORY, tree)
    for name, entry in here.items():
        if entry is not None:
            _put(entries, name, entry, where, made)
    if not entries:
        return None
    content = composed(entries)
    tree = object_name("tree", content)
    if tree != sha:
        made.objects[tree] = content
    return tree


def _remove(entries: dict[bytes, tuple[str, str]], name: bytes, where: bytes, made: Graft) -> None:
    old = entries.pop(name, None)
    if old is None or old[0] == DIRECTORY:
        raise Ungraftable(f"{where + name!r} was no file")
    made.changes.append(Change(where + name, _six(old[0]), _NO_MODE, old[1], NO_SHA, "D"))


def _put(entries: dict[bytes, tuple[str, str]], name: bytes, entry: tuple[str, str], where: bytes, made: Graft) -> None:
    old = entries.get(name)
    if old is not None and old[0] == DIRECTORY:
        raise Ungraftable(f"{where + name!r} is a file and a directory")
    entries[name] = entry
    if old is None:
        made.changes.append(Change(where + name, _NO_MODE, entry[0], NO_SHA, entry[1], "A"))
    elif old != entry:
        status = "M" if old[0][:3] == entry[0][:3] else "T"
        made.changes.append(Change(where + name, _six(old[0]), entry[0], old[1], entry[1], status))


def _six(mode: str) -> str:
    return mode.zfill(6)


def _check(path: bytes) -> None:
    """Plain names only: what git's fsck has rules for (`.git`, `.gitmodules`, names of other systems) is git's."""
    for name in path.split(b"/"):
        if not _PLAIN_NAME.fullmatch(name) or name in (b".", b"..") or name.lower().startswith(b".git"):
            raise Ungraftable(f"{path!r} is a name for git to judge")
