"""A machine's limits made what its repository asks for, while nothing has run in it yet."""

from __future__ import annotations

from collections.abc import Collection

from gitmachine.machines.local.limits import Limits
from gitmachine.types import Wishes

_BY_RESOURCE_LIMIT = ("processes", "open_files")
"""What the agent has given up the right to raise."""


def taken(limits: Limits, wishes: Wishes, kept_by_group: Collection[str]) -> tuple[Limits, dict[str, str]]:
    """The limits with those asked for in them, and by name why others are not."""
    changes: dict[str, int | float] = {}
    left = {}
    for name, asked in wishes.limits.items():
        own = getattr(limits, name)
        if own is None or asked <= own:
            changes[name] = asked
        elif not wishes.may_raise:
            left[name] = "it is more than the machine has (to allow it: limits)"
        elif name in _BY_RESOURCE_LIMIT or (name == "memory_bytes" and "memory" not in kept_by_group):
            left[name] = "this host cannot raise it on a machine that runs: start the machine with more"
        else:
            changes[name] = asked
    return limits.model_copy(update=changes), left
