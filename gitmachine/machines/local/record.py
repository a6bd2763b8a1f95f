"""What another program has to know about a machine in order to go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from gitmachine.machines.local import proc
from gitmachine.machines.local.cgroup import Groups
from gitmachine.machines.local.limits import Limits
from gitmachine.machines.local.sandbox import Init
from gitmachine.records import Record

Network = Literal["host"] | tuple[str, ...] | None
"""Loopback only, the host's network, or the hosts that a proxy lets through."""


class InitRecord(Record):
    """A sandbox's first process. Means nothing after another boot."""

    VERSION: ClassVar[int] = 1
    boot_id: str
    pid: int
    start_time: int

    @classmethod
    def of(cls, init: Init) -> InitRecord:
        return cls(boot_id=proc.boot_id(), pid=init.pid, start_time=init.start_time)

    def live(self) -> Init | None:
        """The process, when it is still the same one and alive."""
        init = Init(self.pid, self.start_time)
        return init if self.boot_id == proc.boot_id() and init.is_alive() else None


class MachineRecord(Record):
    """machine.json: written once, when the machine has started."""

    VERSION: ClassVar[int] = 1
    id: str
    created: float
    """Seconds since the epoch."""
    init: InitRecord
    network: Network = None
    env: dict[str, str] = Field(default_factory=dict)
    limits: Limits = Limits()
    unified: Path | None = None
    by_controller: dict[str, Path] = Field(default_factory=dict)
    kept_by_group: dict[str, str] = Field(default_factory=dict)

    freezer: str = "sigstop"

    @property
    def groups(self) -> Groups:
        return Groups(self.unified, self.by_controller, self.kept_by_group, self.freezer)
