"""Where a user wants to work."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """What the user asked for by options of `run` and `start`."""

    repo: str | None = None
    session: str | None = None
    base: str | None = None
    machine: str = "local"
    image: str | None = None
    """Of the container, for the machine `docker`."""
    network: str | None = None
    """None when the user said nothing of it."""
    env: dict[str, str] = field(default_factory=dict)
