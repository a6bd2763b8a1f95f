"""One request on its connection, and the means to spoil its answer."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from tests.e2b_endpoint import faults
from tests.e2b_endpoint.faults import Drop, Reset, Truncate
from tests.e2b_endpoint.recording import Recorded

DELIVERY_LIMIT_S = 5.0
_POLL_S = 0.001
_SIOCOUTQ = 0x5411
_STREAMED_IN = "/process.Process/StreamInput"
Message = MutableMapping[str, Any]


def _unacked(raw: socket.socket) -> int:
    """tcp(7): bytes that the other side's kernel has not confirmed."""
    return int.from_bytes(fcntl.ioctl(raw.fileno(), _SIOCOUTQ, bytes(4)), sys.byteorder)


class Exchange:
    """What an application reads and answers, with the fault in between."""

    def __init__(self, recorded: Recorded, scope: Scope, receive: Receive, send: Send) -> None:
        self.recorded = recorded
        self.fault: faults.Fault | None = None
        self.task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._receive = receive
        self._send = send
        self._whole = False
        self._replayed = False
        self._cut = False
        self._complete = False
        self._sent = 0
        self._held: Message | None = None

    @property
    def streams_in(self) -> bool:
        return self.recorded.path == _STREAMED_IN

    @property
    def is_cut(self) -> bool:
        return self._cut

    async def read_body(self) -> None:
        """All of it, before anything is answered: pyqwest drops what it has not sent by then."""
        while not self._whole:
            await self._receive_one()

    async def receive(self) -> Message:
        """What the application reads: the body that we have, or piece by piece what comes in, then the end."""
        if self.streams_in:
            return await self._receive_one()
        if not self._replayed:
            self._replayed = True
            return {"type": "http.request", "body": bytes(self.recorded.body), "more_body": False}
        return await self._receive()

    async def wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: Message) -> None:
        """What the application answers, as far as the fault lets it."""
        if self._cut:
            return
        match self.fault:
            case Reset("after"):
                if message["type"] == "http.response.body" and not message.get("more_body", False):
                    self.reset()
            case Drop() | Truncate() as fault:
                await self._send_up_to(fault, message)
            case _:
                if message["type"] == "http.response.start":
                    self.recorded.status = message["status"]
                else:
                    self._complete = not message.get("more_body", False)
                    self.recorded.answered_bytes += len(message.get("body", b""))
                await self._send(message)

    def reset(self) -> None:
        """A RST, and nothing more of this exchange."""
        self._cut = True
        raw = self._transport.get_extra_info("socket")
        with suppress(OSError):  # closed already
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def drop(self) -> None:
        """The end of the connection, after what has been sent; not of one that may have its next request already."""
        if not self._complete:
            self._cut = True
            self._transport.close()

    async def _send_up_to(self, fault: Drop | Truncate, message: Message) -> None:
        if message["type"] == "http.response.start":
            # A length that is not kept would be an error of ours; without it the body is sent in chunks.
            headers = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
            self._held = {**message, "headers": headers}
            return
        body = bytes(message.get("body", b""))
        left = fault.after_bytes - self._sent
        self._sent += len(body)
        if len(body) < left:  # all of it, if this is the end: then there is nothing to spoil
            await self._begin()
            self._complete = not message.get("more_body", False)
            await self._send(message)
            return
        complete = isinstance(fault, Truncate)
        if complete or left > 0:
            await self._begin()
            await self._send({"type": "http.response.body", "body": body[:left], "more_body": not complete})
        if isinstance(fault, Drop):
            await self._delivered()
            self.reset() if fault.how == "reset" else self.drop()
        self._cut = self._complete = True

    async def _delivered(self) -> None:
        """Waits until the client's kernel has all that was sent: a reset throws away what has not arrived."""
        raw = self._transport.get_extra_info("socket")
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_LIMIT_S):
                while not self._transport.is_closing() and (self._transport.get_write_buffer_size() or _unacked(raw)):
                    await asyncio.sleep(_POLL_S)

    async def _begin(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self.recorded.status = held["status"]
            await self._send(held)

    async def _receive_one(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.recorded.body += message.get("body", b"")
            self._whole = not message.get("more_body", False)
        else:
            self._whole = True
        return message
