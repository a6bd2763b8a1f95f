"""HTTP without a client library: a relay that keeps every byte, and a request whose connection can be dropped."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit


@dataclass
class Relay:
    """What went between clients and a server on the loopback."""

    url: str = ""
    to_server: bytearray = field(default_factory=bytearray)
    to_clients: bytearray = field(default_factory=bytearray)

    def texts(self) -> list[bytes]:
        """All that was said, each direction as it came and without the marks between the chunks of a body."""
        raw = [bytes(self.to_server), bytes(self.to_clients)]
        return [*raw, *(re.sub(rb"\r\n[0-9a-f]+\r\n", b"", text) for text in raw)]


@asynccontextmanager
async def relay(url: str) -> AsyncIterator[Relay]:
    """A relay to the server at `url`; clients connect to its own `url`."""
    target = urlsplit(url)
    made = Relay()
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward = await asyncio.open_connection(target.hostname, target.port)
        writers.extend((writer, onward))
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, onward, made.to_server))
                both.create_task(_pass_on(onward_reader, writer, made.to_clients))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made.url = f"http://127.0.0.1:{port}{target.path}"
    try:
        yield made
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    try:
        while data := await reader.read(65536):
            kept += data
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # reset by either side, or by the test
    finally:
        writer.close()


@dataclass(frozen=True)
class Plain:
    """A caller who knows TCP, HTTP and JSON only."""

    url: str
    headers: tuple[str, ...] = ()

    def knowing(self, *headers: str) -> Plain:
        return Plain(self.url, (*self.headers, *headers))

    async def begin(self, method: str, **params: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Sends a request, and does not wait for its answer."""
        where = urlsplit(self.url)
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        body = json.dumps(message if method.startswith("notifications/") else {"id": 1, **message}).encode()
        lines = [
            f"POST {where.path} HTTP/1.1", f"Host: {where.netloc}", f"Content-Length: {len(body)}",
            "Content-Type: application/json", "Accept: application/json, text/event-stream", *self.headers,
        ]  # fmt: skip
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        return reader, writer

    async def answer(self, method: str, **params: Any) -> str:
        """The head and the body of the answer."""
        reader, writer = await self.knowing("Connection: close").begin(method, **params)
        text = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        return text


async def old(caller: Plain) -> Plain:
    """A connection of a client from before 2026-07-28, in the middle of its life."""
    told = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "plain", "version": "1"}}
    head = await caller.answer("initialize", **told)
    found = re.search(r"(?i)^mcp-session-id: *(\S+)", head, re.MULTILINE)
    assert found, head
    known = caller.knowing(f"Mcp-Session-Id: {found.group(1)}", "MCP-Protocol-Version: 2025-11-25")
    assert " 202 " in await known.answer("notifications/initialized")
    return known


def new(caller: Plain, tool: str) -> tuple[Plain, dict[str, Any]]:
    """A client of 2026-07-28 about to call a tool, and what its parameters say of it."""
    prefix = "io.modelcontextprotocol/"
    meta = {
        f"{prefix}protocolVersion": "2026-07-28",
        f"{prefix}clientInfo": {"name": "plain", "version": "1"},
        f"{prefix}clientCapabilities": {},
    }
    return caller.knowing("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", f"Mcp-Name: {tool}"), meta


def disguises(secret: str) -> set[bytes]:
    """What a careless program would make of a secret; in base64 whatever stands before it."""
    raw = secret.encode()
    encoded = {base64.b64encode(bytes(shift) + raw)[4 if shift else 0 : -4] for shift in range(3)}
    return {raw, quote(secret, safe="").encode(), raw.hex().encode(), *encoded}
