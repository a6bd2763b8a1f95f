"""Git in a session: what commits, publishes and compares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from gitmachine.errors import ConfigurationError, GitError
from gitmachine.session import Session
from gitmachine.status import Status, status_of
from gitmachine.types import MachineState, PullOutcome, PushOutcome


class SessionGit(ABC):
    """The git calls of a GitMachine. On a paused machine they resume it, do their work and pause it again."""

    @property
    @abstractmethod
    def state(self) -> MachineState:
        """The session's."""

    @abstractmethod
    def _opened(self, name: str) -> Session:
        """The open session. Raises StateError."""

    async def diff(
        self,
        base: str | int = "HEAD",
        paths: Sequence[str] | None = None,
        *,
        stat: bool = False,
        to: str | int | None = None,
    ) -> str:
        """The working tree, untracked files included, against HEAD, "session" (where it began), a branch or a commit.

        A number, or "#3", is an entry of the history; `to` compares with something else than the working tree. A
        patch as text, or with `stat` its summary. Disturbs nothing in the checkout. Raises BranchNotFound,
        CheckpointNotFound.
        """
        session = self._opened("diff()")
        async with session.reading("diff()"):
            return await session.branch.diff(base, paths or (), stat=stat, to=to)

    async def commit(self, message: str | None = None, *, paths: Sequence[str] | None = None) -> str | None:
        """Puts all changes, or those below `paths`, on the session branch; its id, or None if there was nothing.

        What the guard withholds is named in the `committed` or `withheld` event; naming a path overrides the guard.
        """
        session = self._opened("commit()")
        if message is not None and "\0" in message:
            raise ConfigurationError("a commit message cannot contain NUL")
        async with session.alone("commit()"):
            return (await session.commit(message, paths)).sha

    async def push(self, *, allow: Iterable[str] = ()) -> PushOutcome:
        """Publishes the session branch as far as it is committed.

        `allow` names paths that the guard may let through. Raises PushRejected, PushHeld, RepositoryError.
        """
        session = self._opened("push()")
        async with session.reading("push()"):
            await session.capture()
            return await session.push(allow)

    async def pull(self) -> PullOutcome:
        """Merges the remote's session branch into the checkout; conflicts are left in the files, as git leaves them.

        Raises MergeBlocked when changes that are not committed stand in the way.
        """
        session = self._opened("pull()")
        async with session.alone("pull()"):
            return await session.pull()

    async def hash(self) -> str:
        """The commit that is checked out. Raises GitError in a repository without commits."""
        session = self._opened("hash()")
        async with session.reading("hash()"):
            captured = await session.capture()
        sha = captured.history.head or captured.tip
        if sha is None:
            raise GitError("the repository has no commit yet: commit() makes the first")
        return sha

    async def status(self) -> Status:
        """Branch, commit, changed files, what is not pushed, and the machine's state."""
        session = self._opened("status()")
        state = self.state
        async with session.reading("status()"):
            return await status_of(session, await session.capture(), state)
