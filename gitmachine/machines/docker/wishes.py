"""A caller's arguments, checked before anything is done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from gitmachine.errors import ConfigurationError
from gitmachine.machines.docker.making import Wish
from gitmachine.machines.docker.plan import Mount, Network
from gitmachine.machines.local import adapting
from gitmachine.machines.local.limits import Limits
from gitmachine.network.policy import AllowList
from gitmachine.types import Wishes

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_POLICIES: dict[str | None, Network] = {None: "none", "none": "none", "bridge": "bridge", "host": "host"}


def network_of(wanted: str | Sequence[str] | None) -> tuple[Network, tuple[str, ...] | None]:
    """The engine's network mode, and the allowed hosts where there is a list of them. Raises ConfigurationError."""
    if not isinstance(wanted, str | None):
        return "none", AllowList.parse(wanted).entries
    if wanted not in _POLICIES:
        raise ConfigurationError(
            f"network={wanted!r} is not a policy; there are None, 'bridge', 'host', and a list of allowed hosts, "
            f"[{wanted!r}]"
        )
    return _POLICIES[wanted], None


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
    # Only what was asked for is in the fields that count as set: for the rest it is enough to say what is kept.
    merged = (limits or Limits()).model_dump(exclude_unset=True)
    merged.update((name, value) for name, value in given.items() if value is not None)
    try:
        return Limits.model_validate(merged)
    except ValueError as error:
        raise ConfigurationError(f"these limits cannot be set: {error}") from error


def adapted(wish: Wish, asked: Wishes) -> tuple[Wish, dict[str, str]]:
    """What a caller asked for with what the repository got of its wishes, and by name why it did not get others."""
    limits, left = adapting.taken(wish.limits, asked)
    allowed = wish.allowed
    if asked.network and wish.network == "none":
        allowed = AllowList.parse((*(allowed or ()), *asked.network)).entries
    envs = {**wish.envs, **asked.env}
    return replace(wish, limits=limits, allowed=allowed, envs=envs, image=asked.image or wish.image), left


def mounts_of(mounts: Sequence[Mount | str]) -> tuple[Mount, ...]:
    """Mounts, from Docker's notation too. Raises ConfigurationError."""
    return tuple(Mount.parse(mount) if isinstance(mount, str) else mount for mount in mounts)
