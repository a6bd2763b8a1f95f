"""Running commands and touching files in a container through its agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gitmachine.errors import MachineError
from gitmachine.machines.command import CommandStream
from gitmachine.machines.docker.line import Line, Operation
from gitmachine.machines.local.place import AgentPlace, Input


@dataclass(frozen=True, slots=True)
class ContainerPlace(AgentPlace):
    """A container with an agent, by the line of a relay."""

    line: Callable[[], Awaitable[Line]]
    environment: Mapping[str, str]
    home: str

    async def start(self, fields: Sequence[bytes], *, stdin: bool) -> tuple[CommandStream, Input | None]:
        operation = Operation(await self.line(), fields, stdin=stdin)
        return operation, operation.stdin

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """All processes there are now are stopped until the end, which comes also when this program dies."""
        operation = Operation(await self.line(), [b"quiet"], pipes=False)
        try:
            letter, _ = await operation.answer()
            if letter != b"Q":
                raise MachineError(f"the machine's agent answered {letter!r} to 'quiet'; stop() the machine")
            yield
        finally:
            await operation.aclose()
