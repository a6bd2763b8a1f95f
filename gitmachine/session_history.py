"""What a session remembers, and going back to it."""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod

from gitmachine.errors import FileError
from gitmachine.git.blame import Blame, BlameLine
from gitmachine.git.chain import HistoryEntry
from gitmachine.git.verify import Verification
from gitmachine.past import verification
from gitmachine.paths import relative
from gitmachine.rewinding import Rewind, rewind
from gitmachine.session import Session


class SessionHistory(ABC):
    """The part of a GitMachine that looks back. Numbers of entries are those that `history()` shows."""

    @property
    @abstractmethod
    def path(self) -> str:
        """The checkout's absolute path in the machine."""

    @abstractmethod
    def _opened(self, name: str) -> Session:
        """The open session. Raises StateError."""

    async def history(self, last: int | None = None) -> list[HistoryEntry]:
        """What was done in this session, oldest first: an entry for each command, rewind or new start.

        Where the session began is checkpoint 0 and not listed. Needs no machine.
        """
        chain = self._opened("history()").branch.chain
        return [entry for entry in await chain.entries(last) if entry.number > 0]

    async def outputs(self, entry: HistoryEntry) -> tuple[str, str]:
        """stdout and stderr of an entry, as much of each as its result held."""
        return (await self._opened("outputs()").branch.chain.outputs([entry]))[0]

    async def rewind(self, number: int) -> Rewind:
        """Puts the working tree back to what entry `number` left; 0 is where the session began.

        Tracked and untracked files, as a new checkpoint and entry: `rewind` to the entry before undoes it. Branches,
        HEAD and index stay; ignored files are left alone. Negative numbers count from the newest entry, -1.
        Raises CheckpointNotFound, CaptureFailed, GitError; what was there before is safe in each case.
        """
        session = self._opened("rewind()")
        async with session.alone("rewind()"), session.machine.quiet():
            return await rewind(session, number)

    async def blame(self, path: str, at: int | None = None) -> list[BlameLine]:
        """For each line of a file the command that wrote it, as the file is now or as entry `at` left it.

        `path` is relative to the checkout. Raises FileError for what is not there or has no lines.
        """
        session = self._opened("blame()")
        name = self._relative(path)
        async with session.reading("blame()"):
            checkpoint = (await session.capture()).checkpoint
            if at is not None:
                checkpoint = (await session.branch.entry_with_tree(at)).checkpoint or checkpoint
            refs = await session.branch.refs()
        blame = Blame(session.branch.vault, session.branch.chain, refs["files"], refs.get("base"))
        return await blame.file(name, checkpoint)

    async def changed_since(self, number: int) -> tuple[int, int, int]:
        """Files that differ from what entry `number` left, lines added, and lines taken away."""
        session = self._opened("changed_since()")
        async with session.reading("changed_since()"):
            captured = await session.capture()
            return await session.branch.vault.counted(await session.branch.tree_at(number), captured.tree)

    async def verify(self) -> Verification:
        """Reads the whole history again and compares it with the event log: what was altered or is missing.

        Needs no machine.
        """
        session = self._opened("verify()")
        return await verification(session.branch.vault, session.store)

    def _relative(self, path: str) -> str:
        name = relative(posixpath.join(self.path, path), self.path)
        if name == "." or name.startswith("../"):
            raise FileError(f"{path!r} is not a file of the checkout {self.path}")
        return name
