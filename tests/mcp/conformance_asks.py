"""The part of the conformance fixtures in which a server asks its client: by a request, or by an interim result."""

from __future__ import annotations

import json
import warnings
from typing import Any

from mcp.server.mcpserver import Context, MCPServer, UserMessage
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel, Field


class Response(BaseModel):
    response: str = Field(description="User's response")


class Defaults(BaseModel):
    """A default for each primitive type (SEP-1034)."""

    name: str = Field(default="John Doe")
    age: int = Field(default=30)
    score: float = Field(default=95.5)
    status: str = Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = Field(default=True)


def _titled(key: str, **options: str) -> dict[str, Any]:
    return {key: [{"const": value, "title": title} for value, title in options.items()]}


class Enums(BaseModel):
    """Every way to say what may be chosen (SEP-1330)."""

    untitledSingle: str = Field(json_schema_extra={"enum": ["option1", "option2", "option3"]})
    titledSingle: str = Field(json_schema_extra=_titled("oneOf", value1="First", value2="Second"))
    legacyEnum: str = Field(json_schema_extra={"enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]})
    untitledMulti: list[str] = Field(json_schema_extra={"items": {"type": "string", "enum": ["option1", "option2"]}})
    titledMulti: list[str] = Field(json_schema_extra={"items": _titled("anyOf", value1="First", value2="Second")})


def form(message: str, name: str, kind: str = "string") -> ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(text: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def field(ctx: Context, key: str, name: str) -> Any:
    """What was answered in a form; None when it was not."""
    answer = (ctx.input_responses or {}).get(key)
    return (answer.content or {}).get(name) if isinstance(answer, ElicitResult) else None


def add_asks(server: MCPServer[Any]) -> None:
    add_requests(server)
    add_single_rounds(server)
    add_rounds(server)


def add_requests(server: MCPServer[Any]) -> None:
    """By requests of the server, as before 2026-07-28."""

    async def elicited(ctx: Context, message: str, schema: type[BaseModel]) -> str:
        result = await ctx.elicit(message, schema)
        content = result.data.model_dump_json() if result.action == "accept" else "{}"
        return f"action={result.action}, content={content}"

    @server.tool()
    async def test_sampling(prompt: str, ctx: Context) -> str:
        """Asks the client's model."""
        message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        with warnings.catch_warnings(action="ignore"):
            asking = ctx.request_context.session.create_message([message], max_tokens=100)
        result = await asking
        return f"LLM response: {getattr(result.content, 'text', '')}"

    @server.tool()
    async def test_elicitation(message: str, ctx: Context) -> str:
        """Asks a person."""
        return f"User response: {await elicited(ctx, message, Response)}"

    @server.tool()
    async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
        """Asks with defaults."""
        return f"Elicitation completed: {await elicited(ctx, 'Please check', Defaults)}"

    @server.tool()
    async def test_elicitation_sep1330_enums(ctx: Context) -> str:
        """Asks for a choice."""
        return f"Elicitation completed: {await elicited(ctx, 'Please choose', Enums)}"


def add_single_rounds(server: MCPServer[Any]) -> None:
    """By an interim result, one question each."""

    @server.tool()
    async def test_input_required_result_elicitation(ctx: Context) -> str | InputRequiredResult:
        """Asks a person."""
        if name := field(ctx, "user_name", "name"):
            return f"Hello, {name}!"
        return InputRequiredResult(input_requests={"user_name": form("What is your name?", "name")})

    @server.tool()
    async def test_input_required_result_sampling(ctx: Context) -> str | InputRequiredResult:
        """Asks the client's model."""
        answer = (ctx.input_responses or {}).get("capital_question")
        if isinstance(answer, CreateMessageResult):
            return f"Model said: {getattr(answer.content, 'text', '')}"
        return InputRequiredResult(input_requests={"capital_question": sample("What is the capital of France?")})

    @server.tool()
    async def test_input_required_result_list_roots(ctx: Context) -> str | InputRequiredResult:
        """Asks for the client's roots."""
        answer = (ctx.input_responses or {}).get("client_roots")
        if isinstance(answer, ListRootsResult):
            return f"Client exposed {len(answer.roots)} root(s)."
        return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})

    @server.tool()
    async def test_input_required_result_request_state(ctx: Context) -> str | InputRequiredResult:
        """Its state comes back as it was."""
        if field(ctx, "confirm", "ok") is not None and ctx.request_state == "as it was":
            return "state-ok: confirmation received"
        question = form("Please confirm", "ok", "boolean")
        return InputRequiredResult(input_requests={"confirm": question}, request_state="as it was")

    @server.tool()
    async def test_input_required_result_tampered_state(ctx: Context) -> str | InputRequiredResult:
        """A state that was altered never arrives here."""
        if ctx.request_state is not None:
            return "state-ok"
        question = form("Please confirm", "ok", "boolean")
        return InputRequiredResult(input_requests={"confirm": question}, request_state="sealed")

    @server.prompt()
    async def test_input_required_result_prompt(ctx: Context) -> list[UserMessage] | InputRequiredResult:
        """A prompt asks, too."""
        if context := field(ctx, "user_context", "context"):
            return [UserMessage(TextContent(type="text", text=f"Use the following context: {context}"))]
        return InputRequiredResult(input_requests={"user_context": form("Which context?", "context")})


def add_rounds(server: MCPServer[Any]) -> None:
    """By interim results, several questions, at once or one after another."""

    @server.tool()
    async def test_input_required_result_multiple_inputs(ctx: Context) -> str | InputRequiredResult:
        """Three questions at once."""
        if {"user_name", "greeting", "client_roots"} <= (ctx.input_responses or {}).keys():
            return "All inputs received."
        questions: dict[str, Any] = {
            "user_name": form("What is your name?", "name"),
            "greeting": sample("Generate a greeting"),
            "client_roots": ListRootsRequest(),
        }
        return InputRequiredResult(input_requests=questions, request_state="three")

    @server.tool()
    async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequiredResult:
        """Two questions, the second after the first."""
        state = json.loads(ctx.request_state or "{}")
        color, name = field(ctx, "step2", "color"), field(ctx, "step1", "name")
        if "name" in state and color:
            return f"{state['name']} likes {color}."
        if state.get("asked") and name:
            question = form("Step 2: What is your favorite color?", "color")
            return InputRequiredResult(input_requests={"step2": question}, request_state=json.dumps({"name": name}))
        question = form("Step 1: What is your name?", "name")
        return InputRequiredResult(input_requests={"step1": question}, request_state=json.dumps({"asked": True}))

    @server.tool()
    async def test_input_required_result_capabilities(ctx: Context) -> InputRequiredResult:
        """Asks only in ways that the client has."""
        has = ctx.client_capabilities
        questions: dict[str, Any] = {}
        if has is None or has.sampling is not None:
            questions["sample"] = sample("Say hello")
        if has is None or has.elicitation is not None:
            questions["ask"] = form("What is your name?", "name")
        return InputRequiredResult(input_requests=questions, request_state="able")
