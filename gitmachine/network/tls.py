"""The server name in the first message of a TLS connection (RFC 8446 4.1.2, RFC 6066 3). No I/O."""

from __future__ import annotations

MAX_HELLO_BYTES = 32 * 1024

_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0


class Incomplete(Exception):
    """More bytes are needed to tell."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) < count:
            raise Incomplete
        self._at += count
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self, size: int) -> bytes:
        """Bytes behind a length of `size` bytes."""
        return self.take(self.number(size))

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._data)


def server_name(data: bytes) -> str | None:
    """The name that a client's first bytes ask for; None when they are no TLS or name none.

    Raises Incomplete. A hello that contradicts itself names nobody: no server would answer it either.
    """
    hello = _hello(data)
    if hello is None:
        return None
    try:
        return _name_in(_Reader(hello))
    except Incomplete:
        return None


def _hello(data: bytes) -> bytes | None:
    """The message, put together from the records that it came in."""
    records, message = _Reader(data), b""
    while True:
        if records.take(1)[0] != _HANDSHAKE or records.take(1)[0] != 3:
            return None
        records.take(1)
        message += records.block(2)
        if message and message[0] != _CLIENT_HELLO:
            return None
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big"):
            return message[4 : 4 + int.from_bytes(message[1:4], "big")]


def _name_in(hello: _Reader) -> str | None:
    hello.take(2 + 32)
    for size in (1, 2, 1):  # session, cipher suites, compression methods
        hello.block(size)
    if hello.at_end:
        return None
    extensions = _Reader(hello.block(2))
    while not extensions.at_end:
        kind, body = extensions.number(2), _Reader(extensions.block(2))
        if kind == _SERVER_NAME:
            names = _Reader(body.block(2))
            while not names.at_end:
                kind_of_name, name = names.number(1), names.block(2)
                if kind_of_name == _HOST_NAME:
                    return name.decode("latin-1")
    return None
