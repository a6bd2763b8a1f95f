"""Our server with what the MCP conformance suite expects to find on a server under test.

The suite fixes the names, texts and shapes of these tools, resources and prompts. Run as a program: the port is the
argument. Nothing of this is shipped.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer, UserMessage
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    JSONRPCMessage,
    LoggingLevel,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from gitmachine_mcp import build_server
from tests.mcp.conformance_asks import add_asks

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="

IMAGE = ImageContent(type="image", data=PIXEL, mime_type="image/png")


class Replay(EventStore):
    """Keeps every frame of a stream, so that a client that polls can go on where it was."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._kept.append((stream_id, message))
        return str(len(self._kept))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        position = int(last_event_id)
        stream = self._kept[position - 1][0]
        for number, (owner, message) in enumerate(self._kept[position:], position + 1):
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


async def log(ctx: Context, level: LoggingLevel, text: str) -> None:
    await ctx.request_context.session.send_log_message(level, text, related_request_id=ctx.request_context.request_id)


def _embedded(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return EmbeddedResource(type="resource", resource=contents)


def add_contents(server: MCPServer[Any]) -> None:
    """Tools that answer with each kind of content."""

    @server.tool()
    def test_simple_text() -> str:
        """Text."""
        return "This is a simple text response for testing."

    @server.tool()
    def test_image_content() -> CallToolResult:
        """An image."""
        return CallToolResult(content=[IMAGE])

    @server.tool()
    def test_audio_content() -> CallToolResult:
        """A sound."""
        return CallToolResult(content=[AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")])

    @server.tool()
    def test_embedded_resource() -> CallToolResult:
        """A resource within the result."""
        text = "This is an embedded resource content."
        return CallToolResult(content=[_embedded("test://embedded-resource", "text/plain", text)])

    @server.tool()
    def test_multiple_content_types() -> CallToolResult:
        """All three at once."""
        resource = _embedded("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}')
        text = TextContent(type="text", text="Multiple content types test:")
        return CallToolResult(content=[text, IMAGE, resource])

    @server.tool()
    def test_error_handling() -> CallToolResult:
        """An error."""
        text = "This tool intentionally returns an error for testing"
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)

    @server.tool()
    def test_x_mcp_header(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "none",
    ) -> str:
        """An argument that is repeated in a header."""
        return f"region={region}"


def add_streams(server: MCPServer[Any]) -> None:
    """Tools that say something while they run."""

    @server.tool()
    async def test_tool_with_logging(ctx: Context) -> str:
        """Three log messages."""
        for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await log(ctx, "info", text)
            await asyncio.sleep(0.05)
        return "Tool with logging executed successfully"

    @server.tool()
    async def test_tool_with_progress(ctx: Context) -> str:
        """Three steps of progress."""
        for step in (0, 50, 100):
            await ctx.report_progress(step, 100, f"Completed step {step} of 100")
            await asyncio.sleep(0.05)
        return "done"

    @server.tool()
    async def test_reconnection(ctx: Context) -> str:
        """Closes its stream and goes on for a client that comes back."""
        await log(ctx, "info", "Before disconnect")
        close = ctx.request_context.close_sse_stream
        if close is not None:
            await close()
        await asyncio.sleep(0.2)
        await log(ctx, "info", "After reconnect")
        return "Reconnection test completed"

    @server.tool()
    async def test_trigger_tool_change(ctx: Context) -> str:
        """Announces another list of tools."""
        await ctx.notify_tools_changed()
        return "tool list changed"

    @server.tool()
    async def test_trigger_prompt_change(ctx: Context) -> str:
        """Announces another list of prompts."""
        await ctx.notify_prompts_changed()
        return "prompt list changed"

    @server.tool()
    async def test_missing_capability(ctx: Context) -> str:
        """Needs a client that can sample."""
        if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
            needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "the client cannot sample", needed)
        return "it can"


def add_resources(server: MCPServer[Any]) -> None:
    import base64

    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """Text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """Bytes."""
        return base64.b64decode(PIXEL)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:
        """A template."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.resource("test://watched-resource")
    def watched() -> str:
        """Something to subscribe to."""
        return "Watched resource content"


def add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt()
    def test_simple_prompt() -> list[UserMessage]:
        """Without arguments."""
        return [UserMessage(TextContent(type="text", text="This is a simple prompt for testing."))]

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
        """With arguments."""
        return [UserMessage(TextContent(type="text", text=f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
        """With a resource."""
        resource = _embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        text = TextContent(type="text", text="Please process the embedded resource above.")
        return [UserMessage(resource), UserMessage(text)]

    @server.prompt()
    def test_prompt_with_image() -> list[UserMessage]:
        """With an image."""
        return [UserMessage(IMAGE), UserMessage(TextContent(type="text", text="Please analyze the image above."))]


def main() -> None:
    server = build_server()
    for add in (add_contents, add_streams, add_asks, add_resources, add_prompts):
        add(server)
    port = int(sys.argv[1])
    asyncio.run(server.run_streamable_http_async(port=port, event_store=Replay(), retry_interval=100))


if __name__ == "__main__":
    main()
