"""New sessions from this one."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import Any, Self

from gitmachine import events as ev
from gitmachine import forking
from gitmachine.config import SessionConfig
from gitmachine.forking import MachineSource
from gitmachine.machine import Machine
from gitmachine.opening import Origin, abandon, open_fork
from gitmachine.session import Session


class SessionForks(ABC):
    """The part of a GitMachine that makes others."""

    _config: SessionConfig
    _on_event: Any
    _session: Session | None

    @abstractmethod
    def __init__(self, machine: Machine, *, session: str) -> None: ...

    @abstractmethod
    def _opened(self, name: str) -> Session:
        """The open session. Raises StateError."""

    @abstractmethod
    def _deliver(self, event: ev.Event) -> Awaitable[None] | None:
        """Hands an event to the caller's `on_event`."""

    async def fork(self, name: str, at: int | None = None, machine: MachineSource = None) -> Self:
        """A new session, `name`, from this moment or from what entry `at` of the history left; it is running.

        Its working tree is that checkpoint's, what was not committed included; its branch is made where this
        session's stood then, its history goes on from there. `machine` is a new one of any provider, by default one
        like this session's. Raises as `start`, and CheckpointNotFound.
        """
        return (await self.forks(name, 1, at, machine))[0]

    async def forks(self, name: str, count: int, at: int | None = None, machine: MachineSource = None) -> list[Self]:
        """Several at once, `name-1` and so on, which share on one host what they have in common. All or none."""
        session = self._opened("forks()")
        names = await asyncio.to_thread(forking.fork_names, session, name, count)
        machines = forking.fork_machines(session, machine, count)
        async with session.reading("fork()"):
            entry = await forking.fork_point(session, at)
        async with forking.origin_of(session, entry) as origin:
            works = [partial(self._forked, one, on, origin) for one, on in zip(names, machines, strict=True)]
            made = await forking.at_once(works, _undo)
        await forking.tell_forks(session, entry, names)
        return made

    async def _forked(self, name: str, machine: Machine, origin: Origin) -> Self:
        gm = type(self)(machine, session=name)
        gm._config = replace(self._config, session=name, named=True, base=None)
        gm._on_event = self._on_event
        session = gm._session = await open_fork(
            machine, gm._config, gm._deliver, self._opened("fork()").branch.vault, origin
        )
        record = session.record
        await session.tell(ev.Started(session=record.session, repo_path=record.repo_path, sha=origin.entry.tip))
        return gm


async def _undo(gm: SessionForks) -> None:
    await abandon(gm._opened("fork()"))
