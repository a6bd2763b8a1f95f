"""Which files a patch changes, and by how much."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from gitmachine_mcp.models import FileChange


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch, and what is known of it."""

    name: str
    """The same for the same text."""
    text: str
    files: list[FileChange]

    @classmethod
    def of(cls, text: str) -> Patch:
        """Takes about a second for ten million characters: call it off the loop."""
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return cls(name, text, changed_files(text))


_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


def changed_files(patch: str) -> list[FileChange]:
    """Files in the order of the patch. Inside a hunk every line is content, whatever it looks like."""
    files: list[FileChange] = []
    old = new = 0
    for line in patch.split("\n"):
        if old > 0 or new > 0:
            mark = line[:1]
            old -= mark in ("-", " ", "")
            new -= mark in ("+", " ", "")
            if mark == "+":
                files[-1].added += 1
            elif mark == "-":
                files[-1].removed += 1
        elif line.startswith("diff --git "):
            files.append(FileChange(path=_path(line), added=0, removed=0))
        elif files and (hunk := _HUNK.match(line)):
            old, new = (1 if size is None else int(size) for size in hunk.groups())
        elif files and line.startswith("+++ ") and line != "+++ /dev/null":
            files[-1].path = _name(line[4:])
    return files


def _path(header: str) -> str:
    """From `diff --git a/x b/x`: both halves name the same file unless it was renamed."""
    rest = header.removeprefix("diff --git ")
    if rest.startswith('"'):
        return _name(rest.rpartition(' "')[2].removesuffix('"'))
    half = rest[len(rest) // 2 + 1 :]
    return _name(half if rest.endswith(f"/{half.partition('/')[2]}") else rest.rpartition(" ")[2])


def _name(text: str) -> str:
    return text.rstrip("\t").strip('"').removeprefix("b/")
