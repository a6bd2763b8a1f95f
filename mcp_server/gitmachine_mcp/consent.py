"""A person's consent before what cannot be taken back: asked for where the client can ask, else an argument."""

from __future__ import annotations

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from pydantic import BaseModel, Field

from gitmachine_mcp.bridge import is_modern


class Answer(BaseModel):
    """What a person answers."""

    agree: bool = Field(title="Go ahead", description="Yes, do this.")


class Asked(Exception):
    """The question is on its way to the person; `result` must be the tool's answer for now."""

    def __init__(self, result: InputRequiredResult) -> None:
        super().__init__("asked")
        self.result = result


def can_ask(ctx: Context) -> bool:
    """Whether there is a person at the other end, as far as the client says."""
    capabilities = ctx.client_capabilities
    return capabilities is not None and capabilities.elicitation is not None


async def consent(ctx: Context, question: str, *, key: str, given: bool, argument: str) -> None:
    """Returns when a person agrees. What the caller says in `argument` (`given`) counts where nobody can be asked.

    Raises ToolError when it is refused, or not given and nobody can be asked; Asked when the answer is to come.
    """
    if not can_ask(ctx):
        if not given:
            raise ToolError(f"{question} If a person wants this, call the tool again with {argument}.")
        return
    if not (await _modern(ctx, question, key) if is_modern(ctx.protocol_version) else await _legacy(ctx, question)):
        raise ToolError(f"Not done: the person who was asked did not agree. The question was: {question}")


async def _legacy(ctx: Context, question: str) -> bool:
    result = await ctx.elicit(question, Answer)
    return result.action == "accept" and result.data.agree


async def _modern(ctx: Context, question: str, key: str) -> bool:
    """The answer comes with a second call; the state, which the SDK seals, says that we asked for just that."""
    answer = (ctx.input_responses or {}).get("consent")
    if answer is None or ctx.request_state != key:
        params = ElicitRequestFormParams(message=question, requested_schema=Answer.model_json_schema())
        raise Asked(InputRequiredResult(input_requests={"consent": ElicitRequest(params=params)}, request_state=key))
    if not isinstance(answer, ElicitResult) or answer.action != "accept":
        return False
    return (answer.content or {}).get("agree") is True
