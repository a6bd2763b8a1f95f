"""What a tool call tells while it runs: output as it comes, and the session's events.

Each piece goes to LangGraph's `custom` stream and to LangChain's custom events (`astream_events`, callbacks);
output also to the `tools` stream. LangGraph hands out the `tools` stream alone only when the tool ends; together
with `custom` it is live.
"""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.callbacks.manager import adispatch_custom_event
from langchain_core.runnables.config import ensure_config, get_async_callback_manager_for_config

from gitmachine import Event, GitMachine

OUTPUT = "gitmachine_output"
EVENT = "gitmachine_event"


class Stream:
    """The listeners of one tool call. Without a graph around it there may be none."""

    def __init__(self, runtime: Any) -> None:
        self._writer = getattr(runtime, "stream_writer", None)
        self._delta = getattr(runtime, "emit_output_delta", None)
        self.call: str | None = getattr(runtime, "tool_call_id", None)

    async def output(self, channel: Literal["stdout", "stderr"], text: str) -> None:
        """A piece of what a command wrote."""
        piece = {"channel": channel, "text": text}
        if self._delta is not None:
            self._delta(piece)
        await self._tell(OUTPUT, piece)

    async def event(self, event: Event) -> None:
        """One event of the session."""
        await self._tell(
            EVENT, {"event": event.name, "seq": event.seq, "at": event.at.isoformat(), "data": event.data()}
        )

    async def _tell(self, name: str, data: dict[str, Any]) -> None:
        told = {"tool_call_id": self.call, **data}
        if self._writer is not None:
            self._writer({"type": name, **told})
        callbacks = get_async_callback_manager_for_config(ensure_config())
        if callbacks.parent_run_id is not None and callbacks.handlers:
            await adispatch_custom_event(name, told)


class EventCursor:
    """Hands out the events of a session that have not been told yet, whichever door they came from."""

    def __init__(self) -> None:
        self._told: int | None = None

    async def begin(self, gm: GitMachine) -> None:
        """From now on. What happened before the first call is history: `gm.events()` has it."""
        if self._told is None:
            self._told = 0
            earlier = await gm.events()
            self._told = max(self._told, earlier[-1].seq if earlier else 0)

    async def tell(self, gm: GitMachine, stream: Stream) -> None:
        """What is new. With several calls at once each event is told once, by one of them."""
        for event in await gm.events(self._told or 0):
            if event.seq > (self._told or 0):
                self._told = event.seq
                await stream.event(event)
