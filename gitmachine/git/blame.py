"""Which entry of a session's history wrote which line of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gitmachine.errors import FileError
from gitmachine.git.chain import Chain, HistoryEntry
from gitmachine.git.vault import Vault

_HEAD = re.compile(rb"([0-9a-f]{40}) (\d+) (\d+)(?: \d+)?")
_BINARY_LOOK_BYTES = 8000
"""As git itself decides it (buffer_is_binary in xdiff-interface.c)."""


@dataclass(frozen=True, slots=True)
class BlameLine:
    """A line of a file and where it comes from."""

    line: int
    """From 1."""
    text: str
    number: int | None
    """The entry of the history; None when the session found the line as it began."""
    command: str | None
    commit: str
    """The checkpoint, or the commit of the repository that the line was in already."""


class Blame:
    """Blames files of one session."""

    def __init__(self, vault: Vault, chain: Chain, files: str, base: str | None) -> None:
        self._vault = vault
        self._chain = chain
        self._files = files
        self._base = base
        self._entries: dict[int, HistoryEntry] = {}
        self._by_checkpoint: Mapping[str, HistoryEntry | None] = {}

    async def file(self, path: str, checkpoint: str) -> list[BlameLine]:
        """The lines of a file as a checkpoint has it. Raises FileError for what has no lines."""
        await self._check(path, checkpoint)
        entries = await self._chain.entries()
        self._entries = {entry.number: entry for entry in entries}
        self._by_checkpoint = _causes(entries, await self._checkpoints())
        return await self._lines(path, checkpoint)

    async def _lines(self, path: str, checkpoint: str) -> list[BlameLine]:
        since = (f"^{self._base}",) if self._base else ()
        answer = await self._vault.git.run(
            "blame", "--porcelain", "--first-parent", "-s", "--no-textconv", *since, checkpoint, "--", path,
            git_dir=self._vault.store,
        )  # fmt: skip
        lines: list[BlameLine] = []
        before: dict[str, list[BlameLine]] = {}
        for commit, origin, text in _parsed(answer.stdout):
            cause = self._by_checkpoint.get(commit)
            if cause is not None and cause.kind == "rewind" and cause.target in self._entries:
                # A rewind writes no line: whoever wrote it first did.
                target = self._entries[cause.target].checkpoint
                if target is not None and commit not in before:
                    before[commit] = await self._lines(path, target)
                found = before.get(commit, [])
                if origin <= len(found):
                    first = found[origin - 1]
                    lines.append(BlameLine(len(lines) + 1, text, first.number, first.command, first.commit))
                    continue
            number = cause.number if cause else None
            command = cause.command if cause else None
            lines.append(BlameLine(len(lines) + 1, text, number or None, command if number else None, commit))
        return lines

    async def _check(self, path: str, checkpoint: str) -> None:
        found = await self._vault.kinds_at(checkpoint, os.fsencode(path))
        if found is None:
            raise FileError(f"{path!r} is not in the working tree: blame another checkpoint (at=) that has it")
        mode, sha = found
        if mode not in ("100644", "100755"):
            raise FileError(f"{path!r} is a directory, link or repository: only files have lines")
        content = (await self._vault.blobs([sha]))[sha]
        if b"\0" in content[:_BINARY_LOOK_BYTES]:
            raise FileError(f"{path!r} is a binary file: it has no lines to blame")

    async def _checkpoints(self) -> list[str]:
        """Newest first."""
        since = (f"^{self._base}",) if self._base else ()
        answer = await self._vault.git.run(
            "rev-list", "--first-parent", self._files, *since, "--", git_dir=self._vault.store
        )
        return answer.lines()


def _causes(entries: Sequence[HistoryEntry], checkpoints: Sequence[str]) -> dict[str, HistoryEntry | None]:
    """The entry that made each checkpoint; one that was made beside a command is the next entry's."""
    first: dict[str, HistoryEntry] = {}
    for entry in entries:
        if entry.checkpoint is not None:
            first.setdefault(entry.checkpoint, entry)
    causes: dict[str, HistoryEntry | None] = {}
    later: HistoryEntry | None = None
    for checkpoint in checkpoints:
        later = first.get(checkpoint, later)
        causes[checkpoint] = later
    return causes


def _parsed(answer: bytes) -> list[tuple[str, int, str]]:
    """Commit, line number there, and text of each line (git-blame(1), THE PORCELAIN FORMAT)."""
    found: list[tuple[str, int, str]] = []
    commit, origin = "", 0
    for line in answer.split(b"\n"):
        if line.startswith(b"\t"):
            found.append((commit, origin, line[1:].decode("utf-8", "replace")))
        elif match := _HEAD.fullmatch(line):
            commit, origin = match[1].decode(), int(match[2])
    return found
