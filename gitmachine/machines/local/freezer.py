"""Pausing a machine with its memory kept, by the first of three means that the host allows.

The state is always read from the kernel and never remembered, so that every program sees the same.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from gitmachine.errors import MachineError
from gitmachine.machines.local import cgroup, proc
from gitmachine.machines.local.cgroup import Groups

_SWEEP_LIMIT_S = 10.0


class Freezer(ABC):
    """Stops every process of a sandbox, and lets it go on."""

    name: str

    @abstractmethod
    def is_frozen(self) -> bool:
        """As the kernel says; costs microseconds."""

    @abstractmethod
    async def freeze(self) -> None:
        """Returns when nothing runs any more. Raises MachineError."""

    @abstractmethod
    async def thaw(self) -> None:
        """Returns when the processes can run. Raises MachineError."""


class Cgroup2Freezer(Freezer):
    """`cgroup.freeze` (kernel documentation, cgroup-v2)."""

    name = "cgroup2"

    def __init__(self, group: Path) -> None:
        self._group = group

    def is_frozen(self) -> bool:
        return (proc.read_small(f"{self._group}/cgroup.freeze") or "").startswith("1")

    async def freeze(self) -> None:
        await cgroup.freeze_v2(self._group, frozen=True)

    async def thaw(self) -> None:
        await cgroup.freeze_v2(self._group, frozen=False)


class Cgroup1Freezer(Freezer):
    """`freezer.state` (kernel documentation, cgroup-v1/freezer-subsystem). A frozen process dies when thawed."""

    name = "cgroup1"

    def __init__(self, group: Path) -> None:
        self._group = group

    def is_frozen(self) -> bool:
        return (proc.read_small(f"{self._group}/freezer.state") or "THAWED").strip() != "THAWED"

    async def freeze(self) -> None:
        await cgroup.freeze_v1(self._group, frozen=True)

    async def thaw(self) -> None:
        await cgroup.freeze_v1(self._group, frozen=False)


class SweepFreezer(Freezer):
    """SIGSTOP to every process of the sandbox's pid namespace: needs no rights, is seen by job control."""

    name = "sigstop"

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def is_frozen(self) -> bool:
        found = proc.stat_of(self._pid)
        return found is not None and found[0] == proc.STOPPED

    async def freeze(self) -> None:
        await asyncio.to_thread(self._stop_all)

    async def thaw(self) -> None:
        await asyncio.to_thread(self._continue_all)

    def _stop_all(self) -> None:
        # The agent first: from then on no new command joins. The others may fork or wake one another while we
        # go round, so we go round until a whole pass finds none running.
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGSTOP)
        deadline = time.monotonic() + _SWEEP_LIMIT_S
        while running := [pid for pid in proc.namespace_members(self._pid) if _runs(pid)]:
            if time.monotonic() > deadline:
                self._continue_all()
                raise MachineError(
                    f"{len(running)} processes of the machine could not be stopped within {_SWEEP_LIMIT_S:g} s; "
                    "it goes on running"
                )
            for pid in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)

    def _continue_all(self) -> None:
        members = proc.namespace_members(self._pid)
        for pid in [pid for pid in members if pid != self._pid] + [self._pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _runs(pid: int) -> bool:
    found = proc.stat_of(pid)
    return found is not None and found[0] not in "TtZX"


def choose(groups: Groups, pid: int) -> Freezer:
    """The best that there is for a sandbox in these groups whose first process is `pid`."""
    match groups.freezer:
        case "cgroup2" if groups.unified is not None:
            return Cgroup2Freezer(groups.unified)
        case "cgroup1":
            return Cgroup1Freezer(groups.by_controller["freezer"])
        case _:
            return SweepFreezer(pid)
