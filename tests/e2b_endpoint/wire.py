"""The host's side of the guest's protocol (see guest.py), and descriptors on an event loop."""

from __future__ import annotations

import array
import asyncio
import marshal
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

Message = dict[str, Any]

_MARSHAL_VERSION = 2
_RETRY_S = 0.002
_MAX_FDS = 8


class GuestGone(Exception):
    """The sandbox has ended, or ended while it was asked."""


async def ready(fd: int, add: Callable[..., None], remove: Callable[[int], Any]) -> None:
    """Waits until the loop says that a descriptor can be read (or written)."""
    waiter = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    add(fd, wake)
    try:
        await waiter
    finally:
        remove(fd)


async def readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    await ready(fd, loop.add_reader, loop.remove_reader)


async def writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    await ready(fd, loop.add_writer, loop.remove_writer)


async def write_all(fd: int, data: bytes) -> None:
    """Raises OSError, EPIPE for one."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await writable(fd)


class Conversation:
    """One request to a guest and its answers. Closes everything it was given or got, unless it is taken."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = b""
        self._fds: list[int] = []

    @classmethod
    async def begin(cls, control: socket.socket, request: Message, fds: Sequence[int] = ()) -> Conversation:
        """Raises GuestGone."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self = cls(ours)
        try:
            rights = array.array("i", [theirs.fileno(), *fds])
            await _send_rights(control, rights)
            body = marshal.dumps(request, _MARSHAL_VERSION)
            await asyncio.get_running_loop().sock_sendall(ours, len(body).to_bytes(4, "big") + body)
        except OSError as error:
            self.close()
            raise GuestGone("the sandbox has ended") from error
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()
        return self

    async def answer(self) -> Message:
        """The next one. Raises GuestGone."""
        length = int.from_bytes(await self._exactly(4), "big")
        message: Message = marshal.loads(await self._exactly(length))
        return message

    def take_fd(self) -> int:
        """The descriptor that came with the answer; the caller closes it."""
        return self._fds.pop()

    def close(self) -> None:
        self._connection.close()
        while self._fds:
            os.close(self._fds.pop())

    async def _exactly(self, count: int) -> bytes:
        while len(self._data) < count:
            await self._receive()
        data, self._data = self._data[:count], self._data[count:]
        return data

    async def _receive(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._connection, 65536, _MAX_FDS)
        except BlockingIOError:
            await readable(self._connection.fileno())
            return
        except OSError as error:
            raise GuestGone("the sandbox has ended") from error
        self._fds += fds
        if not data:
            raise GuestGone("the sandbox has ended")
        self._data += data


async def _send_rights(control: socket.socket, rights: array.array[int]) -> None:
    while True:
        with suppress(BlockingIOError):
            control.sendmsg([b"o"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            return
        await asyncio.sleep(_RETRY_S)  # the guest has many requests to take already
