"""The frames between host and relay, whose meaning relay.py tells. What arrives is checked as if from an enemy."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

from gitmachine.errors import MachineError

_HEADER = struct.Struct(">IBI")
_MAX_FRAME_BYTES = 2 * 1024 * 1024
WITH_PIPES, WITH_INPUT = 1, 2
WINDOW_BYTES = 1024 * 1024
PASSAGE_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024


class Kind(enum.IntEnum):
    """What a frame is about; up to 6 from the host, from 11 on from the relay."""

    OPEN = 1
    INPUT = 2
    END_INPUT = 3
    KILL = 4
    CLOSE = 5
    CREDIT = 6
    OUT = 11
    ERR = 12
    FRAME = 13
    GONE = 14
    TAKEN = 15
    BROKEN = 16
    HELLO = 17
    ACCEPTED = 18
    ENDED = 19


def pack(operation: int, kind: Kind, payload: bytes = b"") -> bytes:
    """A frame as it goes over the stream."""
    return _HEADER.pack(operation, kind, len(payload)) + payload


class Parser:
    """Takes bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """(operation, kind, payload) of each frame that is whole now. Raises MachineError for an absurd one."""
        self._received += data
        while len(self._received) >= _HEADER.size:
            operation, kind, length = _HEADER.unpack_from(self._received)
            if length > _MAX_FRAME_BYTES:
                raise MachineError(f"the machine's relay sent a frame of {length} bytes; stop() the machine")
            if len(self._received) < _HEADER.size + length:
                return
            yield operation, kind, bytes(self._received[_HEADER.size : _HEADER.size + length])
            del self._received[: _HEADER.size + length]
