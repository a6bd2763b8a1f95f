"""A chat model that replays a script, so that whole agents run without a network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

Step = AIMessage | Exception | Callable[[list[BaseMessage]], AIMessage]

_numbers = itertools.count(1)


class ScriptedModel(BaseChatModel):
    """Says the next line of its script, whatever it hears; an exception in the script is raised."""

    script: list[Any]
    heard: list[list[BaseMessage]] = Field(default_factory=list)
    offered: list[Any] = Field(default_factory=list)
    """What was bound as tools."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        self.offered[:] = tools
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.heard.append(messages)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        answer = step(messages) if callable(step) else step
        return ChatResult(generations=[ChatGeneration(message=answer)])


def model(*script: Step) -> ScriptedModel:
    """A model with this script."""
    return ScriptedModel(script=list(script))


def calls(name: str, **arguments: Any) -> AIMessage:
    """The model asks for one tool."""
    return AIMessage("", tool_calls=[ToolCall(name=name, args=arguments, id=f"call-{next(_numbers)}")])


def says(text: str) -> AIMessage:
    """The model's last word."""
    return AIMessage(text)


def answers(state: dict[str, Any]) -> list[ToolMessage]:
    """What the tools answered, in order."""
    return [message for message in state["messages"] if isinstance(message, ToolMessage)]
