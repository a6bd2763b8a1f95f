"""The host's side of the agent's protocol (see agent.py): one connection is one operation.

A command's output comes to us through pipes that we make and the agent hands to the command, so that it costs
what any pipe costs, and a slow reader slows the command and nobody else. What the agent sends is five bytes a
frame, and is checked as if it came from an enemy.
"""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import socket
import struct
import termios
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gitmachine.errors import MachineError, MachineLost
from gitmachine.machines.command import Channel, CommandStream

_FRAME_BYTES = 5
_CHUNK_BYTES = 256 * 1024
_QUEUE_BYTES = 1024 * 1024
MAX_FIELD_BYTES = 16 * 1024 * 1024
_CONNECT_LIMIT_S = 5.0
_REPLY_LIMIT_S = 30.0
LIMITS = {1: "memory", 2: "processes", 4: "disk"}
"""What the bits of an `X` frame say."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an agent listens, and whom its pipes should belong to."""

    directory: Path
    name: str
    owner_uid: int | None = None
    """As root: the machine's user, who could not open /dev/stdout otherwise."""


def exceeded(before: tuple[str, ...], bits: int) -> tuple[str, ...]:
    """The limits that a command is known to have run into, once the agent has told of these."""
    return tuple(dict.fromkeys((*before, *(name for bit, name in LIMITS.items() if bits & bit))))


def encode(fields: Sequence[bytes]) -> bytes:
    """A request as it goes over the wire."""
    body = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return len(body).to_bytes(4, "big") + body


async def connect(address: Address) -> socket.socket:
    """A connection to the agent. Raises ConnectionRefusedError, FileNotFoundError, MachineError."""
    # sun_path has 108 bytes, and a state directory may have a long name: the way leads over a descriptor.
    directory = os.open(address.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        deadline = time.monotonic() + _CONNECT_LIMIT_S
        while True:
            try:
                connection.connect(f"/proc/self/fd/{directory}/{address.name}")
            except BlockingIOError:  # the queue of those waiting to be accepted is full
                if time.monotonic() > deadline:
                    raise MachineError(
                        f"the machine at {address.directory} accepts no more commands: too many wait already"
                    ) from None
                await asyncio.sleep(0.01)
            else:
                return connection
    except BaseException:  # a cancellation, too, must not leave it open
        connection.close()
        raise
    finally:
        os.close(directory)


async def ask(connection: socket.socket, fields: Sequence[bytes], expected: bytes) -> int:
    """Sends a request without descriptors and gives the value of the one frame it is answered with."""
    value, _ = await _asked(connection, fields, expected)
    return value


async def ask_for_bytes(connection: socket.socket, fields: Sequence[bytes], expected: bytes) -> bytes:
    """The same, with as many bytes behind the frame as its value says."""
    _, data = await _asked(connection, fields, expected, follows=True)
    return data


async def _asked(
    connection: socket.socket, fields: Sequence[bytes], expected: bytes, *, follows: bool = False
) -> tuple[int, bytes]:
    try:
        async with asyncio.timeout(_REPLY_LIMIT_S):
            await asyncio.get_running_loop().sock_sendall(connection, encode(fields))
            frame = await _exactly(connection, _FRAME_BYTES)
            if frame[:1] != expected:
                raise MachineError(f"the machine's agent answered {frame!r} to {fields[0]!r}; stop() the machine")
            value = int.from_bytes(frame[1:], "big")
            if follows and value > MAX_FIELD_BYTES:
                raise MachineError(f"the machine's agent announced {value} bytes for {fields[0]!r}; stop() the machine")
            return value, await _exactly(connection, value) if follows else b""
    except (ConnectionError, TimeoutError) as error:
        raise MachineLost(f"the machine's agent does not answer: {error or 'no reply in time'}") from error


async def _exactly(connection: socket.socket, count: int) -> bytes:
    loop, received = asyncio.get_running_loop(), bytearray()
    while len(received) < count:
        data = await loop.sock_recv(connection, count - len(received))
        if not data:
            raise MachineLost("the machine's agent hung up; the machine has ended")
        received += data
    return bytes(received)


async def ask_for_descriptor(connection: socket.socket, fields: Sequence[bytes], expected: bytes) -> int:
    """Sends a request and gives the descriptor that it is answered with, which is then the caller's to close."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    await loop.sock_sendall(connection, encode(fields))
    loop.add_reader(connection.fileno(), readable.set)
    try:
        async with asyncio.timeout(_REPLY_LIMIT_S):
            await readable.wait()
        frame, descriptors, _, _ = socket.recv_fds(connection, _FRAME_BYTES, 1)
    except (OSError, TimeoutError) as error:
        raise MachineLost(f"the machine's agent does not answer: {error or 'no reply in time'}") from error
    finally:
        loop.remove_reader(connection.fileno())
    if frame[:1] != expected or len(descriptors) != 1:
        for fd in descriptors:
            os.close(fd)
        raise MachineError(f"the machine's agent answered {frame!r} to {fields[0]!r}; stop() the machine")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


class _Reader:
    """The reading end of one output pipe."""

    def __init__(self, fd: int, channel: Channel) -> None:
        self.fd = fd
        self.channel = channel
        self.open = True


class Job(CommandStream):
    """One command, or file call, in a machine."""

    closes_at_once = True

    def __init__(self, connection: socket.socket, readers: tuple[int, int], writer: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._readers = [_Reader(readers[0], "stdout"), _Reader(readers[1], "stderr")]
        self._queue: deque[tuple[Channel, bytes]] = deque()
        self._queued_bytes = 0
        self._frames = b""
        self._exit_code: int | None = None
        self._refused: tuple[bytes, int] | None = None
        self._lost = False
        self._killed = asyncio.Event()
        self._wake = asyncio.Event()
        self._reading = False
        self.stdin = None if writer is None else Stdin(writer)
        self._loop.add_reader(connection.fileno(), self._on_frames)
        self._read_on()

    @classmethod
    async def start(cls, address: Address, fields: Sequence[bytes], *, stdin: bool) -> Job:
        """Sends the request with its pipes. Raises as `connect` does."""
        began = time.monotonic()
        connection = await connect(address)
        pipes = _Pipes(stdin=stdin, owner_uid=address.owner_uid)
        try:
            await pipes.send(connection, encode(fields))
            job = cls(connection, *pipes.take_ours())
            job.started = began
            return job
        except BaseException:  # also a cancellation: the agent ends the command once we have hung up
            connection.close()
            raise
        finally:
            pipes.close()

    async def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        while True:
            while self._queue:
                channel, data = self._queue.popleft()
                self._queued_bytes -= len(data)
                yield channel, data
            if self._finished:
                break
            self._read_on()
            self._wake.clear()
            await self._wake.wait()
        for reader in self._readers:
            if reader.open:  # else its end was seen, and nothing is left in it
                for data in self._left_in(reader):
                    yield reader.channel, data

    async def exit_code(self) -> int:
        """Raises OSError when the command could not be started, MachineLost when the machine ended."""
        if self._refused is not None:
            raise RefusedError(*self._refused)
        if self._exit_code is None:
            raise MachineLost("the machine ended while a command ran in it; its files are still on the host")
        return self._exit_code

    async def kill(self) -> None:
        if self._lost or self._refused is not None:
            return
        with suppress(ConnectionError, BlockingIOError):
            self._connection.send(b"k")
        await self._killed.wait()

    async def aclose(self) -> None:
        self._stop_reading()
        self._loop.remove_reader(self._connection.fileno())
        if self.stdin is not None:
            self.stdin.close()
        # First the pipes, then the connection, whose end tells the agent to empty the pipes from then on.
        for reader in self._readers:
            os.close(reader.fd)
        self._connection.close()

    @property
    def _finished(self) -> bool:
        return self._exit_code is not None or self._refused is not None or self._lost

    def _on_frames(self) -> None:
        try:
            data = self._connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._frames += data
        while len(self._frames) >= _FRAME_BYTES:
            frame, self._frames = self._frames[:_FRAME_BYTES], self._frames[_FRAME_BYTES:]
            self._take(frame[:1], int.from_bytes(frame[1:], "big"))
        if not data:
            self._loop.remove_reader(self._connection.fileno())
            self._lost = True
            self._killed.set()
        self._wake.set()

    def _take(self, letter: bytes, value: int) -> None:
        if letter == b"E":
            self._exit_code = value & 0xFF
        elif letter == b"X":
            self.exceeded = exceeded(self.exceeded, value)
        elif letter == b"K":
            self._killed.set()
        else:
            self._refused = (letter, value)
            self._killed.set()

    def _read_on(self) -> None:
        if not self._reading and not self._finished:
            self._reading = True
            for reader in self._readers:
                if reader.open:
                    self._loop.add_reader(reader.fd, self._on_output, reader)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            for reader in self._readers:
                if reader.open:
                    self._loop.remove_reader(reader.fd)

    def _on_output(self, reader: _Reader) -> None:
        try:
            data = os.read(reader.fd, _CHUNK_BYTES)
        except BlockingIOError:
            return
        if not data:
            reader.open = False
            self._loop.remove_reader(reader.fd)
            return
        self._queue.append((reader.channel, data))
        self._queued_bytes += len(data)
        if self._queued_bytes >= _QUEUE_BYTES:
            self._stop_reading()
        self._wake.set()

    def _left_in(self, reader: _Reader) -> list[bytes]:
        """What was in the pipe when the shell ended, and not what its children go on to write."""
        self._stop_reading()
        left = struct.unpack("i", fcntl.ioctl(reader.fd, termios.FIONREAD, b"\0" * 4))[0]
        chunks = []
        with suppress(BlockingIOError):
            while left > 0 and (data := os.read(reader.fd, left)):
                chunks.append(data)
                left -= len(data)
        return chunks


class RefusedError(OSError):
    """The agent could not start a command: `stage` is `C` for the directory, `R` for the rest."""

    def __init__(self, stage: bytes, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.stage = stage


class _Pipes:
    """The pipes of one command, until they are handed over."""

    def __init__(self, *, stdin: bool, owner_uid: int | None) -> None:
        self._open: set[int] = set()
        try:
            self.out = self._pipe(owner_uid)
            self.err = self._pipe(owner_uid)
            self.into = self._pipe(owner_uid) if stdin else None
        except BaseException:  # whatever it was: the pipes made before it are nobody's
            self.close()
            raise
        os.set_blocking(self.out[0], False)
        os.set_blocking(self.err[0], False)
        if self.into:
            os.set_blocking(self.into[1], False)

    def _pipe(self, owner_uid: int | None) -> tuple[int, int]:
        ends = os.pipe()
        self._open.update(ends)
        if owner_uid is not None:
            os.fchown(ends[0], owner_uid, owner_uid)
        return ends

    async def send(self, connection: socket.socket, request: bytes) -> None:
        """Hands the command's ends over with the first bytes of the request."""
        fds = [self.out[1], self.err[1], self.out[0], self.err[0]]
        if self.into:
            fds.append(self.into[0])
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sent = connection.sendmsg([request], [rights])
        if sent < len(request):
            await asyncio.get_running_loop().sock_sendall(connection, memoryview(request)[sent:])

    def take_ours(self) -> tuple[tuple[int, int], int | None]:
        """Our ends, no longer closed by `close`."""
        writer = self.into[1] if self.into else None
        self._open -= {self.out[0], self.err[0], writer}
        return (self.out[0], self.err[0]), writer

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())


class Stdin:
    """The writing end of a command's standard input."""

    def __init__(self, fd: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._pending = memoryview(b"")
        self._after: Callable[[], None] | None = None
        self.broken = False
        """The command reads no more."""

    def feed_and_close(self, data: bytes) -> None:
        """Writes all of it as the command reads, without anybody waiting."""
        self._begin(data, self.close)

    async def write(self, data: bytes) -> None:
        """Returns when all of it is in the pipe, or nobody reads any more."""
        done = asyncio.Event()
        self._begin(data, done.set)
        await done.wait()

    def close(self) -> None:
        """Also gives up on what has not been written."""
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _begin(self, data: bytes, after: Callable[[], None]) -> None:
        self._pending = memoryview(data)
        self._after = after
        if self._fd >= 0:
            self._loop.add_writer(self._fd, self._write_some)
            self._write_some()
        else:
            after()

    def _write_some(self) -> None:
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._fd, self._pending[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            self.broken = True
        self._loop.remove_writer(self._fd)
        if self._after is not None:
            self._after()
