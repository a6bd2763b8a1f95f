"""Where a user wants to work."""

from __future__ import annotations

from dataclasses import dataclass, field

from gitmachine.project.consent import Consent


@dataclass(frozen=True, slots=True)
class Entry:
    """What the user asked for by options of `run` and `start`."""

    repo: str | None = None
    session: str | None = None
    base: str | None = None
    machine: str = "local"
    image: str | None = None
    """Of the container, for the machine `docker`."""
    network: str | tuple[str, ...] | None = None
    """None when the user said nothing of it; else none, host, bridge, or the allowed hosts."""
    consent: Consent | None = None
    env: dict[str, str] = field(default_factory=dict)
