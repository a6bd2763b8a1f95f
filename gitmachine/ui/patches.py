"""A patch, taken apart into files and numbered lines. What is too long to look at is counted instead."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_FILE_ROWS = 1500
MAX_ROWS = 6000

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)", re.DOTALL)
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abfnrtv"\\])')
_LETTERS = dict(zip(b'abfnrtv"\\', b'\a\b\f\n\r\t\v"\\', strict=True))


@dataclass(slots=True)
class Row:
    """A line of a hunk, or the head of one."""

    kind: str
    """added, removed, same, hunk, note."""
    text: str
    old: int | None = None
    new: int | None = None


@dataclass(slots=True)
class FilePatch:
    """What becomes of one file."""

    path: str
    before: str | None = None
    """Its earlier name, where it was renamed."""
    status: str = "modified"
    added: int = 0
    removed: int = 0
    rows: list[Row] = field(default_factory=list)
    left_out: int = 0
    """Lines that are not among the rows."""


@dataclass(slots=True)
class _Reader:
    files: list[FilePatch] = field(default_factory=list)
    old: int = 0
    new: int = 0
    old_left: int = 0
    new_left: int = 0
    rows: int = 0

    def read(self, line: str) -> None:
        if self.old_left > 0 or self.new_left > 0:
            self._content(line)
        elif line.startswith("diff --git "):
            self.files.append(FilePatch(_path(line)))
        elif self.files:
            self._header(self.files[-1], line)

    def _content(self, line: str) -> None:
        mark, text, file = line[:1], line[1:], self.files[-1]
        if mark == "\\":
            self._add(Row("note", text.strip()))
            return
        row = {"+": "added", "-": "removed"}.get(mark, "same")
        file.added += row == "added"
        file.removed += row == "removed"
        self._add(Row(row, text, None if row == "added" else self.old, None if row == "removed" else self.new))
        if row != "added":
            self.old, self.old_left = self.old + 1, self.old_left - 1
        if row != "removed":
            self.new, self.new_left = self.new + 1, self.new_left - 1

    def _header(self, file: FilePatch, line: str) -> None:
        if hunk := _HUNK.match(line):
            self.old, self.new = int(hunk[1]), int(hunk[3])
            self.old_left, self.new_left = (1 if size is None else int(size) for size in (hunk[2], hunk[4]))
            self._add(Row("hunk", hunk[5].strip()))
        elif line.startswith("\\"):
            self._add(Row("note", line[1:].strip()))
        elif line.startswith("+++ ") and line != "+++ /dev/null":
            file.path = _name(line[4:], "b/")
        elif line.startswith("new file"):
            file.status = "added"
        elif line.startswith("deleted file"):
            file.status = "deleted"
        elif line.startswith("rename from "):
            file.before, file.status = _name(line.removeprefix("rename from ")), "renamed"
        elif line.startswith("rename to "):
            file.path = _name(line.removeprefix("rename to "))
        elif line.startswith(("Binary files", "old mode", "new mode")):
            self._add(Row("note", "binary file" if line.startswith("Binary") else line))

    def _add(self, row: Row) -> None:
        file = self.files[-1]
        if len(file.rows) >= MAX_FILE_ROWS or self.rows >= MAX_ROWS:
            file.left_out += 1
            return
        file.rows.append(row)
        self.rows += 1


def taken_apart(patch: str) -> list[FilePatch]:
    """The files in the order of the patch."""
    reader = _Reader()
    for line in patch.split("\n"):
        reader.read(line)
    return reader.files


def _path(header: str) -> str:
    """From `diff --git a/x b/x`: both halves name the same file unless it was renamed."""
    rest = header.removeprefix("diff --git ")
    if rest.endswith('"'):
        return _name(rest[rest.rindex(' "') + 1 :], "b/")
    half = rest[len(rest) // 2 + 1 :]
    return _name(half if rest.endswith(f"/{half.partition('/')[2]}") else rest.rpartition(" ")[2], "b/")


def _name(text: str, prefix: str = "") -> str:
    """A file's name as git writes it: quoted when it has anything unusual (core.quotePath)."""
    text = text.removesuffix("\t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        raw = _ESCAPE.sub(_byte, text[1:-1].encode("utf-8", "replace"))
        text = raw.decode("utf-8", "backslashreplace")
    return text.removeprefix(prefix)


def _byte(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code, 8) & 0xFF if len(code) == 3 else _LETTERS[code[0]]])
