"""One session for each conversation thread: opened when first needed, ended when idle or when all is closed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from langchain_core.runnables.config import ensure_config

from gitmachine import (
    ConfigurationError,
    GitMachine,
    GitMachineError,
    InvalidSessionName,
    Machine,
    MachineError,
    MachineState,
    PushHeld,
    PushRejected,
    Registry,
    RepositoryError,
    StateError,
)
from gitmachine.actor import acting
from gitmachine.git.names import check_session_name
from gitmachine.git.remote import parse_remote
from gitmachine.sync import GitMachine as SyncGitMachine
from gitmachine.sync import OwnerLoop, shared
from langchain_gitmachine.reach import DOOR, Reach, Sessions

log = logging.getLogger(__name__)
T = TypeVar("T")

_LONGEST_SLUG = 60


def branch_for(thread_id: str) -> str:
    """The branch of a thread: `gitmachine/<thread id>`, and never one that another thread's id gives too.

    An id that cannot be a branch name as it is has its odd characters replaced and a hash of the id appended.
    """
    plain = f"gitmachine/{thread_id}"
    if re.fullmatch(r"[a-z0-9]+([._-]?[a-z0-9]+)*", thread_id) and len(thread_id) <= _LONGEST_SLUG:
        with suppress(InvalidSessionName):
            return check_session_name(plain)
    slug = re.sub(r"[^a-z0-9]+", "-", thread_id.lower()).strip("-")[:_LONGEST_SLUG].strip("-")
    # Two hyphens: no id that is taken as it is has them, so no such id is somebody else's branch.
    return f"gitmachine/{slug or 'thread'}--{hashlib.sha256(thread_id.encode()).hexdigest()[:10]}"


def thread_of(runtime: Any) -> str:
    """The thread that a hook or tool serves. Raises ConfigurationError when the agent was invoked without one."""
    info = getattr(runtime, "execution_info", None)
    thread = getattr(info, "thread_id", None)
    if thread is None:  # so it is without a checkpointer, whatever the caller gave
        thread = ensure_config().get("configurable", {}).get("thread_id")
    if not thread:
        raise ConfigurationError(
            "the agent was invoked without a thread id, and threads must not share a session: give "
            'config={"configurable": {"thread_id": "…"}}'
        )
    return str(thread)


@dataclass(slots=True)
class _Kept:
    """The session of one thread. Used on the owner loop only."""

    reach: Reach | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the session is opened or ended."""
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)


class ThreadSessions(Sessions):
    """Opens, finds and ends the sessions of threads. Everything happens on the shared owner loop."""

    def __init__(
        self,
        machine: Callable[[], Machine],
        repository: str | None,
        token: str | None,
        *,
        branch: Callable[[str], str],
        idle_timeout: float | None,
        options: dict[str, Any],
    ) -> None:
        if "session" in options:
            raise ConfigurationError("each thread has a session of its own: name them with branch=, not with session=")
        self.owner: OwnerLoop = shared()
        self._machine = machine
        self._repository = repository
        self._token = token
        self._branch = branch
        self._idle_timeout = idle_timeout
        self._options = options
        self._kept: dict[str, _Kept] = {}
        self._branches: dict[str, str] = {}
        self._watch: asyncio.Task[None] | None = None
        self._closed = False
        # A wrong option should be heard of now, not from the first thread.
        GitMachine(machine(), repository, token, **options)

    def call(self, runtime: Any, work: Callable[[Reach], Coroutine[Any, Any, T]]) -> T:
        return self.owner.run(self.using(thread_of(runtime), work))

    async def acall(self, runtime: Any, work: Callable[[Reach], Coroutine[Any, Any, T]]) -> T:
        return await self.owner.arun(self.using(thread_of(runtime), work))

    async def using(self, thread: str, work: Callable[[Reach], Coroutine[Any, Any, T]]) -> T:
        """Does something with the thread's session, which is opened if it is not."""
        kept = self._entry(thread)
        kept.users += 1
        try:
            with acting(DOOR):
                return await work(await self._opened(thread, kept))
        finally:
            kept.users -= 1
            kept.used_at = time.monotonic()

    def reach(self, thread: str) -> Reach | None:
        """The thread's session if it is open."""
        kept = self._kept.get(thread)
        return kept.reach if kept is not None else None

    async def end(self, thread: str, *, if_idle: bool = False) -> None:
        """Commits, pushes and ends the thread's session. Raises CaptureFailed, VaultError, and keeps the machine."""
        kept = self._kept.get(thread)
        if kept is None:
            return
        async with kept.turn:
            if if_idle and kept.users:
                return
            if kept.reach is not None and kept.reach.gm.state is not MachineState.STOPPED:
                await stop_safely(kept.reach.gm)
            kept.reach = None
            if not kept.users:
                self._kept.pop(thread, None)

    async def close(self) -> None:
        """Ends all sessions; refuses new ones. Raises what went wrong when all that could end has ended."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None
        threads = list(self._kept)
        results = await asyncio.gather(*(self.end(thread) for thread in threads), return_exceptions=True)
        errors = [result for result in results if isinstance(result, Exception)]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("sessions could not be ended", errors)

    # --- inside -----------------------------------------------------------------------------------------

    def _entry(self, thread: str) -> _Kept:
        if self._closed:
            raise StateError("the middleware is closed and its sessions are ended: make a new one")
        return self._kept.setdefault(thread, _Kept())

    async def _opened(self, thread: str, kept: _Kept) -> Reach:
        async with kept.turn:
            if kept.reach is None or kept.reach.gm.state is MachineState.STOPPED:
                gm = await self._open(self._branch_of(thread))
                kept.reach = Reach(SyncGitMachine.of(gm, self.owner))
                self._kept[thread] = kept
            if self._watch is None and self._idle_timeout is not None:
                self._watch = asyncio.create_task(self._end_the_idle(self._idle_timeout))
            return kept.reach

    def _branch_of(self, thread: str) -> str:
        branch = self._branch(thread)
        if (other := self._branches.setdefault(branch, thread)) != thread:
            raise ConfigurationError(
                f"threads {other!r} and {thread!r} would share the session {branch!r}: make branch() depend on the id"
            )
        return branch

    async def _open(self, branch: str) -> GitMachine:
        gm = GitMachine(self._machine(), self._repository, self._token, session=branch, **self._options)
        try:
            await gm.start()
        except StateError:
            # Live already: an earlier run of this program was cut off, or another door is at it.
            return await self._taken_up(branch)
        return gm

    async def _taken_up(self, branch: str) -> GitMachine:
        address = None if self._repository is None else parse_remote(self._repository, self._token).url
        records = await asyncio.to_thread(Registry().records)
        record = next(r for r in reversed(records) if (r.session, r.repository) == (branch, address))
        gm = await GitMachine.reopen(record.id, self._token, **self._options)
        if gm.state is MachineState.PAUSED:
            await gm.resume()
        return gm

    async def _end_the_idle(self, limit: float) -> None:
        while True:
            now = time.monotonic()
            idle = [t for t, kept in self._kept.items() if not kept.users and now - kept.used_at >= limit]
            for thread in idle:
                try:
                    await self.end(thread, if_idle=True)
                except GitMachineError:
                    log.exception("the idle session of thread %r could not be ended; it is tried again", thread)
            ages = [now - kept.used_at for kept in self._kept.values() if not kept.users]
            await asyncio.sleep(max(limit - max(ages, default=0.0), limit / 10, 0.05))


async def stop_safely(gm: GitMachine) -> None:
    """On the remote if that can be, in the vault in any case, and then the machine goes."""
    if gm.state is MachineState.PAUSED:
        with suppress(MachineError):
            await gm.resume()
    try:
        await gm.stop()
    except (PushRejected, PushHeld, RepositoryError) as error:
        log.warning("session %r ends with its work in the vault: %s", gm.session, error)
        await gm.stop(push=False)
