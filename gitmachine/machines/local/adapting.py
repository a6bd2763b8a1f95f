"""A machine's limits made what its repository asks for, while nothing has run in it yet. Pure."""

from __future__ import annotations

from collections.abc import Collection

from gitmachine.machines.local.limits import Limits
from gitmachine.types import Wishes

_BY_RESOURCE_LIMIT = ("processes", "open_files")
"""What the agent has given up the right to raise."""


def never_raised(kept_by_group: Collection[str]) -> tuple[str, ...]:
    """The limits of a local machine that runs which cannot be raised any more."""
    return _BY_RESOURCE_LIMIT if "memory" in kept_by_group else (*_BY_RESOURCE_LIMIT, "memory_bytes")


def taken(limits: Limits, wishes: Wishes, fixed: Collection[str] = ()) -> tuple[Limits, dict[str, str]]:
    """The limits with those asked for in them, and by name why others are not; those in `fixed` cannot be raised."""
    changes: dict[str, int | float] = {}
    left = {}
    for name, asked in wishes.limits.items():
        own = getattr(limits, name)
        if own is None or asked <= own:
            changes[name] = asked
        elif not wishes.may_raise:
            left[name] = "it is more than the machine has (to allow it: limits)"
        elif name in fixed:
            left[name] = "this host cannot raise it on a machine that runs: start the machine with more"
        else:
            changes[name] = asked
    return limits.model_copy(update=changes), left
