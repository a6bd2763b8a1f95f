"""A session's verbs as LangChain tools.

Each works with and without await, in an agent and alone. What a model can read about goes to it as an error
message; nothing that the session or its machine refuses ends the agent's run.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

from langchain_core.tools import BaseTool, ToolException
from pydantic import ConfigDict, Field

from gitmachine import GitMachine, GitMachineError
from gitmachine.actor import acting
from langchain_gitmachine.arguments import Arguments
from langchain_gitmachine.reach import DOOR, Reach, Sessions
from langchain_gitmachine.streams import Stream

Answer = tuple[str, Mapping[str, Any]]
"""What the model reads, and the artifact."""


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """What the operator allows, whatever a model asks for."""

    max_output_chars: int = 16_000
    """Of a command's output, a file or a diff in one message; the head and tail are shown."""
    timeout: float = 120.0
    """Seconds for a command whose caller names no bound."""
    max_timeout: float = 3600.0
    """The longest bound, in seconds, that a caller can name."""

    def bound(self, asked: float | None, session: float | None) -> float:
        """Seconds for a command: what was asked for, else the session's own bound, else ours; never above ours."""
        return min(asked or session or self.timeout, self.max_timeout)


class GitMachineTool(BaseTool):
    """One verb of a session. Made by GitMachineToolkit and GitMachineMiddleware."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    tags: list[str] | None = Field(default_factory=lambda: ["gitmachine"])
    limits: ToolLimits = Field(default_factory=ToolLimits, exclude=True, repr=False)
    sessions: Sessions = Field(exclude=True, repr=False)

    @abstractmethod
    async def use(self, gm: GitMachine, stream: Stream, asked: Any) -> Answer:
        """Does what was `asked` (the arguments' own type), on the session's own loop.

        May raise GitMachineError, OSError, UnicodeError.
        """

    def _run(self, *, runtime: Any = None, **arguments: Any) -> Answer:
        with _told_to_the_model():
            return self.sessions.call(runtime, lambda reach: self._use(reach, runtime, arguments))

    async def _arun(self, *, runtime: Any = None, **arguments: Any) -> Answer:
        with _told_to_the_model():
            return await self.sessions.acall(runtime, lambda reach: self._use(reach, runtime, arguments))

    async def _use(self, reach: Reach, runtime: Any, arguments: dict[str, Any]) -> Answer:
        stream, asked = Stream(runtime), cast(type[Arguments], self.args_schema).model_validate(arguments)
        await reach.events.begin(reach.gm)
        try:
            with acting(DOOR, stream.call):
                return await self.use(reach.gm, stream, asked)
        finally:
            await reach.events.tell(reach.gm, stream)


@contextmanager
def _told_to_the_model() -> Iterator[None]:
    """Only ToolException is shown to the model by LangChain; anything else would end the agent's run."""
    try:
        yield
    except (GitMachineError, OSError, UnicodeError) as error:
        raise ToolException(f"{type(error).__name__}: {error}") from error
