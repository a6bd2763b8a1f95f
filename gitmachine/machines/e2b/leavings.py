"""The sandboxes that this host has made and that E2B still has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gitmachine.machines.e2b import service
from gitmachine.machines.e2b.host import host_name
from gitmachine.machines.e2b.options import MARK


@dataclass(frozen=True, slots=True)
class Left:
    """A sandbox, as E2B lists it."""

    id: str
    paused: bool
    since: datetime
    session_id: str | None
    """Of the session that it was made for, on this host; None when it was made for none."""


async def sandboxes(params: Mapping[str, Any]) -> list[Left]:
    """All that have this host's mark, the oldest first. Raises MachineUnavailable, MachineUnreachable."""
    sdk = await service.load()
    query = sdk.SandboxQuery(metadata={MARK: await host_name()})
    pages = sdk.AsyncSandbox.list(query=query, **params)
    found = []
    while pages.has_next:
        for info in await service.ask("the listing of sandboxes", pages.next_items):
            paused = str(getattr(info.state, "value", info.state)) == "paused"
            found.append(Left(info.sandbox_id, paused, info.started_at, info.metadata.get(f"{MARK}_id")))
    return sorted(found, key=lambda left: left.since)
