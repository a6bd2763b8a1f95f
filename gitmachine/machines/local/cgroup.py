"""Control groups for one machine: made where this host lets us, used for limits and for freezing.

Version 2 needs a directory that we may write; its freezer works without any controller. Version 1 has a tree
for each controller. Root puts a v2 group below `gitmachine` at the top, so that a machine does not end with the
login session that started it; an ordinary user can only go below the group he is in.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from gitmachine.errors import MachineError
from gitmachine.machines.local import proc
from gitmachine.machines.local.limits import Limits

_CPU_PERIOD_US = 100_000
_POLL_S = 0.001
_REMOVE_LIMIT_S = 5.0
_FREEZE_LIMIT_S = 10.0
_V1_CONTROLLERS = ("freezer", "memory", "pids", "cpu")


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one machine, by what they are for."""

    unified: Path | None = None
    by_controller: dict[str, Path] = field(default_factory=dict)
    """Version 1: freezer, memory, pids, cpu."""
    limits: dict[str, str] = field(default_factory=dict)
    """Limits that are kept by a group, and by which kind: memory, processes, cpus."""
    freezer: str = "sigstop"
    """By what a machine in these groups is paused: cgroup2, cgroup1 or sigstop."""

    @property
    def paths(self) -> list[Path]:
        return ([self.unified] if self.unified else []) + list(self.by_controller.values())


def create(name: str, limits: Limits) -> Groups:
    """Makes what can be made here and sets the limits on it."""
    by_controller: dict[str, Path] = {}
    unified = None
    for controllers, base in _bases():
        if controllers:
            wanted = [c for c in controllers if c in _V1_CONTROLLERS]
            if wanted and (made := _make(base / f"gitmachine-{name}")):
                by_controller.update(dict.fromkeys(wanted, made))
        else:
            unified = _make(base / f"gitmachine-{name}")
    if unified is not None and (unified / "cgroup.freeze").exists():  # Linux 5.2 and later
        freezer = "cgroup2"
    else:
        freezer = "cgroup1" if "freezer" in by_controller else "sigstop"
    groups = Groups(unified, by_controller, {}, freezer)
    return replace(groups, limits=set_limits(groups, limits))


def set_limits(groups: Groups, limits: Limits) -> dict[str, str]:
    """Sets what the groups can keep, and says which that is and by what."""
    kept: dict[str, str] = {}
    if groups.unified is not None:
        kept |= dict.fromkeys(_limit_v2(groups.unified, limits), "cgroup v2")
    return kept | dict.fromkeys(_limit_v1(groups.by_controller, limits), "cgroup v1")


def _make(path: Path) -> Path | None:
    try:
        path.mkdir()
        # Where processes cannot be moved to it a group is of no use.
        if not os.access(path / "cgroup.procs", os.W_OK):
            path.rmdir()
            return None
    except OSError:
        return None
    return path


def _bases() -> Iterator[tuple[list[str], Path]]:
    """(controllers of v1, or none for v2; directory in which a group of ours may be made)."""
    mounts = dict(_mounts())
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mounted = mounts.get(controllers)
        if mounted is None:
            continue
        if controllers:
            yield controllers.split(","), mounted / path.lstrip("/")
        else:
            yield [], _top_level(mounted) if os.geteuid() == 0 else mounted / path.lstrip("/")


def _mounts() -> Iterator[tuple[str, Path]]:
    """As in /proc/self/cgroup: the controllers of a v1 tree joined by commas, the empty string for v2."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        point = Path(before.split(" ")[4])
        if kind == "cgroup2":
            yield "", point
        elif kind == "cgroup":
            known = [o for o in options.split(",") if o in (*_V1_CONTROLLERS, "cpuacct")]
            if known:
                yield ",".join(known), point


def _top_level(mounted: Path) -> Path:
    directory = mounted / "gitmachine"
    with suppress(OSError):
        directory.mkdir(exist_ok=True)
    for parent in (mounted, directory):
        for controller in ("memory", "pids", "cpu"):
            with suppress(OSError):
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")
    return directory


def _limit_v2(group: Path, limits: Limits) -> list[str]:
    wanted = {
        "memory": ("memory.max", limits.memory_bytes),
        "processes": ("pids.max", limits.processes),
        "cpus": ("cpu.max", limits.cpus and f"{int(limits.cpus * _CPU_PERIOD_US)} {_CPU_PERIOD_US}"),
    }
    return [name for name, (file, value) in wanted.items() if value and _set(group / file, value)]


def _limit_v1(groups: dict[str, Path], limits: Limits) -> list[str]:
    wanted = {
        "memory": ("memory", "memory.limit_in_bytes", limits.memory_bytes),
        "processes": ("pids", "pids.max", limits.processes),
        "cpus": ("cpu", "cpu.cfs_quota_us", limits.cpus and int(limits.cpus * _CPU_PERIOD_US)),
    }
    return [
        name
        for name, (controller, file, value) in wanted.items()
        if value and controller in groups and _set(groups[controller] / file, value)
    ]


def _set(file: Path, value: object) -> bool:
    try:
        with file.open("r+") as stream:  # never creates: cgroupfs has the file or it has not
            stream.write(str(value))
    except OSError:
        return False
    return True


def enter(groups: Groups, pid: int) -> None:
    """Moves a process in. Raises MachineError."""
    for path in groups.paths:
        try:
            (path / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise MachineError(f"the sandbox could not be moved to its control group {path}: {error}") from error


_COUNTERS = {
    "memory": ("memory.events", "memory", "memory.oom_control", "oom_kill"),
    "processes": ("pids.events", "pids", "pids.events", "max"),
}
"""By limit: the file of version 2, the controller and the file of version 1, and what the kernel counts in them."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Where the kernel counts how often each limit that a group keeps was run into."""

    files: tuple[tuple[str, str, str], ...]
    """By limit: the file, and under which name it counts in it."""

    @classmethod
    def of(cls, groups: Groups) -> Counters:
        found = []
        for limit, (file_v2, controller, file_v1, name) in _COUNTERS.items():
            match groups.limits.get(limit):
                case "cgroup v2":
                    found.append((limit, f"{groups.unified}/{file_v2}", name))
                case "cgroup v1":
                    found.append((limit, f"{groups.by_controller[controller]}/{file_v1}", name))
        return cls(tuple(found))

    def read(self) -> tuple[str, ...]:
        """The files as they are now. Costs microseconds; what they say is looked at only when they differ."""
        return tuple([proc.read_small(path) or "" for _, path, _ in self.files])

    def exceeded(self, before: tuple[str, ...]) -> list[str]:
        """The limits that were run into since `before` was read: processes killed for memory, forks refused."""
        after = self.read()
        if after == before:
            return []
        rows = zip(self.files, before, after, strict=True)
        return [limit for (limit, _, name), old, new in rows if _count(new, name) > _count(old, name)]


def _count(text: str, name: str) -> int:
    fields = (line.partition(" ") for line in text.splitlines())
    return sum(int(value) for key, _, value in fields if key == name)


def discard(groups: Groups) -> None:
    """Removes groups in which nothing runs any more, waiting a moment for the last ones to leave. Blocks."""
    deadline = time.monotonic() + _REMOVE_LIMIT_S
    for path in groups.paths:
        while True:
            try:
                path.rmdir()
            except FileNotFoundError:
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise MachineError(f"the control group {path} could not be removed: {error}") from error
                time.sleep(_POLL_S)
            else:
                break


async def freeze_v2(group: Path, *, frozen: bool) -> None:
    """Freezes or thaws and waits until it has happened. Raises MachineError."""
    _write(group / "cgroup.freeze", "1" if frozen else "0")
    wanted = "frozen 1" if frozen else "frozen 0"
    await _until(lambda: wanted in (proc.read_small(f"{group}/cgroup.events") or ""), group)


async def freeze_v1(group: Path, *, frozen: bool) -> None:
    """Freezes or thaws and waits until it has happened. Raises MachineError."""
    wanted = "FROZEN" if frozen else "THAWED"
    _write(group / "freezer.state", wanted)
    await _until(lambda: (proc.read_small(f"{group}/freezer.state") or "").strip() == wanted, group)


def _write(file: Path, value: str) -> None:
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise MachineError(f"{file} could not be set to {value}: {error}") from error


async def _until(condition: Callable[[], bool], group: Path) -> None:
    deadline = time.monotonic() + _FREEZE_LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise MachineError(f"the control group {group} did not freeze or thaw within {_FREEZE_LIMIT_S:g} s")
        await asyncio.sleep(_POLL_S)
