"""What one machine may use."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

_ROOM = 8
GIB = 1024**3
MIB = 1024**2


class Limits(BaseModel):
    """Bounds on a machine. None means that GitMachine sets none.

    `LocalMachine.capabilities.limits` says by what each is kept: a cgroup bounds the whole machine, a resource
    limit (setrlimit(2)) each process of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bytes: PositiveInt | None = 8 * GIB
    processes: PositiveInt | None = 4096
    cpus: PositiveFloat | None = None
    disk_bytes: PositiveInt | None = 32 * GIB
    """What the home directory may hold, in a container together with what is written to its system. Looked after four
    times a second, so that a fast writer gets further; then every process of the machine is killed, the files stay,
    and commands run on that free some."""
    file_bytes: PositiveInt | None = None
    """The largest file that can be written."""
    open_files: PositiveInt | None = 65536
    tmp_bytes: int = Field(default=GIB, gt=0)
    """Size of /tmp, which lives in memory. /dev/shm has 64 MiB."""
    lifetime_s: PositiveFloat | None = None
    """Seconds from the start after which the machine ends by itself, paused time included where it is frozen
    no longer. Its files stay on the host."""

    def agent_arguments(self, *, by_cgroup: frozenset[str]) -> list[str]:
        """What the agent sets on itself, for the limits that no cgroup keeps."""
        values: dict[str, float | None] = {
            # Behind the control group's, which counts what it refuses.
            "processes": self.processes and self.processes + (_ROOM if "processes" in by_cgroup else 0),
            "data_bytes": None if "memory" in by_cgroup else self.memory_bytes,
            "file_bytes": self.file_bytes,
            "open_files": self.open_files,
            "disk_bytes": self.disk_bytes,
            "cpus": None if "cpus" in by_cgroup or self.cpus is None else round(self.cpus + 0.49),
            "lifetime_s": self.lifetime_s,
        }
        return ["core_bytes=0", *(f"{name}={value}" for name, value in values.items() if value is not None)]

    def described(self, by_cgroup: Mapping[str, str]) -> dict[str, str]:
        """The limits in force and what keeps them, for `Capabilities`."""
        said: dict[str, str] = {}
        if self.memory_bytes:
            means = by_cgroup.get("memory", "resource limit, each process's data")
            said["memory"] = f"{_size(self.memory_bytes)} ({means})"
        if self.processes:
            said["processes"] = f"{self.processes} ({by_cgroup.get('processes', 'resource limit')})"
        if self.cpus:
            said["cpus"] = f"{self.cpus:g} ({by_cgroup.get('cpus', 'affinity, which a command can change')})"
        if self.disk_bytes:
            said["disk"] = f"{_size(self.disk_bytes)} (agent, looks four times a second)"
        if self.file_bytes:
            said["file"] = f"{_size(self.file_bytes)} (resource limit)"
        if self.open_files:
            said["open_files"] = f"{self.open_files} (resource limit, each process)"
        said["tmp"] = f"{_size(self.tmp_bytes)} (tmpfs)"
        if self.lifetime_s:
            said["lifetime"] = f"{self.lifetime_s:g} s (agent)"
        return said


def _size(size_bytes: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (1024, "KiB")):
        if size_bytes % unit == 0 or size_bytes >= 10 * unit:
            return f"{size_bytes / unit:g} {name}"
    return f"{size_bytes} bytes"
