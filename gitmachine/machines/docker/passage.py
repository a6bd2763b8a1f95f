"""A connection that a program in a container made, as a transport of asyncio, over the line of a relay."""

from __future__ import annotations

import asyncio
from typing import Any

from gitmachine.machines.docker import frames
from gitmachine.machines.docker.frames import Kind
from gitmachine.machines.docker.line import Line

_HIGH_BYTES = 128 * 1024
"""From here on who writes is asked to wait."""


class Passage(asyncio.Transport):
    """Never holds more than the windows of its two directions, and what was written before it said to wait."""

    def __init__(self, line: Line, number: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._line = line
        self._number = number
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._room = frames.PASSAGE_BYTES
        self._waiting = bytearray()
        self._asked_to_wait = False
        self._reading = True
        self._owed = 0
        self._ends = False
        self._closing = False
        self._over = False
        protocol.connection_made(self)

    # --- for the protocol ---------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._closing and not self._ends:
            self._waiting += data
            self._send_some()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._ends and not self._closing:
            self._ends = True
            self._send_some()

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._credit(0)

    def is_reading(self) -> bool:
        return self._reading

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What was written still goes out."""
        self._closing = True
        self._send_some()

    def abort(self) -> None:
        self._closing = True
        self._waiting.clear()
        self._send_some()

    # --- for the line -------------------------------------------------------------------------------------

    def take(self, kind: int, payload: bytes) -> None:
        """Called by the line for each frame."""
        match kind:
            case Kind.OUT:
                if not self._closing:
                    self._protocol.data_received(payload)
                self._credit(len(payload))
            case Kind.ENDED:
                if not self._closing:
                    self._protocol.eof_received()
            case Kind.TAKEN:
                self._room += int.from_bytes(payload, "big")
                self._send_some()
            case Kind.BROKEN | Kind.GONE:
                self._waiting.clear()
                self._closing = True
                self._end(ConnectionResetError("the program in the machine hung up"))

    def _credit(self, count: int) -> None:
        self._owed += count
        if self._reading and self._owed and not self._over:
            self._line.send(self._number, Kind.CREDIT, self._owed.to_bytes(4, "big"))
            self._owed = 0

    def _send_some(self) -> None:
        while self._waiting and self._room > 0:
            piece = bytes(self._waiting[: min(self._room, frames.CHUNK_BYTES)])
            del self._waiting[: len(piece)]
            self._room -= len(piece)
            self._line.send(self._number, Kind.INPUT, piece)
        self._ask_to_wait(len(self._waiting) > _HIGH_BYTES)
        if self._waiting or self._over:
            return
        if self._closing:
            self._end(None)
        elif self._ends:
            self._line.send(self._number, Kind.END_INPUT)

    def _ask_to_wait(self, wait: bool) -> None:
        if wait != self._asked_to_wait:
            self._asked_to_wait = wait
            (self._protocol.pause_writing if wait else self._protocol.resume_writing)()

    def _end(self, error: Exception | None) -> None:
        if not self._over:
            self._over = True
            self._line.close(self._number)
            self._loop.call_soon(self._protocol.connection_lost, error)
