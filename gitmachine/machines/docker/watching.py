"""The state of a container as its engine tells it, without being asked again and again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gitmachine.machines.docker.engine import Engine
from gitmachine.types import MachineState

_EVENTS = ["pause", "unpause", "start", "die", "destroy"]
_STATES = {
    "created": MachineState.IDLE,
    "running": MachineState.RUNNING,
    "paused": MachineState.PAUSED,
}
_BY_EVENT = {"pause": MachineState.PAUSED, "unpause": MachineState.RUNNING, "start": MachineState.RUNNING}


def state_of(inspected: dict[str, Any]) -> MachineState:
    """A container's state, by what the engine tells of it; one that has ended is STOPPED."""
    status = str(inspected["State"].get("Status", ""))
    return _STATES.get(status, MachineState.STOPPED)


class Watch:
    """Follows the engine's events about one container. Made by `held_watch`."""

    def __init__(self, response: Any, changed: Callable[[MachineState], None]) -> None:
        self._response = response
        self._changed = changed
        self.ended = False

    async def run(self) -> None:
        """Until the container is gone, or the engine."""
        try:
            async for line in self._response.content:
                if line.strip():
                    event = json.loads(line)
                    action = str(event.get("Action") or event.get("status"))
                    self._changed(_BY_EVENT.get(action, MachineState.STOPPED))
        finally:
            self.ended = True

    async def ready(self) -> None:
        """It is from the beginning."""


@asynccontextmanager
async def held_watch(engine: Engine, container: str, changed: Callable[[MachineState], None]) -> AsyncIterator[Watch]:
    """Tells the state as it is now, and each change of it, up to the end of the block. Raises MachineError."""
    import aiohttp

    filters = json.dumps({"container": [container], "type": ["container"], "event": _EVENTS})
    async with engine.client() as docker:
        url = f"{docker.docker_host}/{docker.api_version}/events"
        timeout = aiohttp.ClientTimeout()
        async with docker.session.get(url, params={"filters": filters}, timeout=timeout) as response:
            response.raise_for_status()
            changed(state_of(await docker.containers.container(container).show()))
            yield Watch(response, changed)
