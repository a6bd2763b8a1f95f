"""A caller's arguments, checked before anything is done."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gitmachine.errors import ConfigurationError
from gitmachine.machines.docker.plan import Mount, Network
from gitmachine.machines.local.limits import Limits

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_POLICIES: dict[str | None, Network] = {None: "none", "none": "none", "bridge": "bridge", "host": "host"}


def network_of(wanted: str | Sequence[str] | None) -> Network:
    """The engine's network mode. Raises ConfigurationError."""
    if not isinstance(wanted, str | None):
        raise ConfigurationError(
            "a list of allowed hosts is not available on DockerMachine: give None, 'bridge' or 'host', or take a "
            "LocalMachine"
        )
    if wanted not in _POLICIES:
        raise ConfigurationError(f"network={wanted!r} is not a policy; there are None, 'bridge' and 'host'")
    return _POLICIES[wanted]


def bytes_of(size: int | str) -> int:
    """A size as Docker writes it: bytes, or a number with k, m, g or t. Raises ConfigurationError."""
    if isinstance(size, str):
        found = _SIZE.fullmatch(size.strip())
        if found is None:
            raise ConfigurationError(f"{size!r} is no size: give bytes, or a number with k, m or g, such as '2g'")
        size = int(float(found[1]) * _UNITS[found[2].lower()])
    if size <= 0:
        raise ConfigurationError(f"a size of {size} bytes is none at all")
    return size


def limits_of(limits: Limits | None, memory: int | str | None, cpus: float | None, processes: int | None) -> Limits:
    """`limits`, with what was given by itself in place of its own. Raises ConfigurationError."""
    given = {
        "memory_bytes": None if memory is None else bytes_of(memory),
        "cpus": cpus,
        "processes": processes,
    }
    merged = (limits or Limits()).model_dump()
    merged["disk_bytes"] = None  # what a container's layer takes is not counted
    merged.update((name, value) for name, value in given.items() if value is not None)
    try:
        return Limits.model_validate(merged)
    except ValueError as error:
        raise ConfigurationError(f"these limits cannot be set: {error}") from error


def mounts_of(mounts: Sequence[Mount | str]) -> tuple[Mount, ...]:
    """Mounts, from Docker's notation too. Raises ConfigurationError."""
    return tuple(Mount.parse(mount) if isinstance(mount, str) else mount for mount in mounts)
