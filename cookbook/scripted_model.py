"""The chat model of the agents here: the one that you name, or without a key a script that says its lines."""

from collections.abc import Sequence
from typing import Any

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolCall


class Script(GenericFakeChatModel):
    """Says its messages one after another, whatever it hears."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self


def model_or_script(arguments: Sequence[str], *lines: AIMessage) -> BaseChatModel:
    """The model that the first argument names, such as `anthropic:claude-sonnet-4-5`; without one, a script."""
    return init_chat_model(arguments[0]) if arguments else Script(messages=iter(lines))


def asks(tool: str, **arguments: Any) -> AIMessage:
    """A line in which the model asks for a tool."""
    return AIMessage("", tool_calls=[ToolCall(name=tool, args=arguments, id=f"call {tool}")])
