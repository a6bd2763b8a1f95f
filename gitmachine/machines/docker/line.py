"""The host's side of the relay's protocol (see relay.py): many operations over one held `exec`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gitmachine.errors import MachineError, MachineLost
from gitmachine.machines.command import Channel, CommandStream
from gitmachine.machines.docker import frames
from gitmachine.machines.docker.exec_stream import begun, write
from gitmachine.machines.docker.frames import Kind
from gitmachine.machines.local.client import RefusedError, encode, exceeded

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer
    from aiodocker.stream import Stream

RELAY = Path(__file__).with_name("relay.py")
_HELLO_LIMIT_S = 30.0
_REPLY_LIMIT_S = 30.0
_SAID_BYTES = 4096
_AGENT_FRAME_BYTES = 5


class Taker(Protocol):
    """Who is told of the frames of one operation."""

    def take(self, kind: int, payload: bytes) -> None: ...


Accepted = Callable[["Line", int], Taker]
"""Begins what serves a connection that the machine made."""


class Line:
    """A relay that answers. Made by `held_line`, which also ends it."""

    def __init__(self, stream: Stream, accepted: Accepted | None = None) -> None:
        self._stream = stream
        self._accepted = accepted
        self._operations: dict[int, Taker] = {}
        self._last = 0
        self._outgoing: deque[bytes] = deque()
        self._to_send = asyncio.Event()
        self._hello = asyncio.Event()
        self._parser = frames.Parser()
        self._said = b""
        self.ended = False

    async def run(self) -> None:
        """Until the relay's end."""
        writing = asyncio.ensure_future(self._write())
        try:
            while (message := await self._stream.read_out()) is not None:
                if message.stream == 1:
                    for number, kind, payload in self._parser.feed(message.data):
                        self._take(number, kind, payload)
                else:
                    self._said = (self._said + message.data)[-_SAID_BYTES:]
        finally:
            self._end()
            writing.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):  # nobody is there to read any more
                await writing

    async def ready(self) -> None:
        """Returns when the relay has found the agent. Raises MachineError."""
        try:
            async with asyncio.timeout(_HELLO_LIMIT_S):
                await self._hello.wait()
        except TimeoutError:
            raise MachineError("the machine's relay did not start in time") from None
        if self.ended:
            raise MachineError(f"the machine's relay ended at once: {self._said.decode('utf-8', 'replace').strip()}")

    def open(self, operation: Operation, flags: int, request: bytes) -> int:
        """Begins an operation and gives its number. Raises MachineLost."""
        if self.ended:
            raise MachineLost("the connection into the machine has ended")
        self._last += 1
        self._operations[self._last] = operation
        self.send(self._last, Kind.OPEN, bytes([flags]) + request)
        return self._last

    def close(self, number: int) -> None:
        """Ends an operation: what it started and still runs in its foreground is killed."""
        if self._operations.pop(number, None) is not None:
            self.send(number, Kind.CLOSE)

    def send(self, number: int, kind: Kind, payload: bytes = b"") -> None:
        """Never waits: the windows of the operations bound what there can be to send."""
        self._outgoing.append(frames.pack(number, kind, payload))
        self._to_send.set()

    async def _write(self) -> None:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            data = b"".join(self._outgoing)
            self._outgoing.clear()
            await write(self._stream, data)

    def _take(self, number: int, kind: int, payload: bytes) -> None:
        if kind == Kind.HELLO:
            self._hello.set()
        elif kind == Kind.ACCEPTED and self._accepted is not None:
            self._operations[number] = self._accepted(self, number)
        elif (operation := self._operations.get(number)) is not None:
            operation.take(kind, payload)

    def _end(self) -> None:
        self.ended = True
        self._hello.set()
        while self._operations:
            self._operations.popitem()[1].take(Kind.GONE, b"")


@asynccontextmanager
async def held_line(
    container: DockerContainer, argv: Sequence[str], user: str, accepted: Accepted | None = None
) -> AsyncIterator[Line]:
    """A relay in a running container, up to the end of the block. Raises MachineError."""
    execution = await container.exec(argv, stdin=True, stdout=True, stderr=True, user=user, workdir="/")
    async with begun(execution) as stream:
        yield Line(stream, accepted)


class Operation(CommandStream):
    """One command, or file call, in a container."""

    def __init__(self, line: Line, fields: Sequence[bytes], *, pipes: bool = True, stdin: bool = False) -> None:
        self._line = line
        self._queue: deque[tuple[Channel, bytes]] = deque()
        self._frames = b""
        self._exit_code: int | None = None
        self._refused: tuple[bytes, int] | None = None
        self._gone: str | None = None
        self._killed = asyncio.Event()
        self._wake = asyncio.Event()
        self.answers: deque[tuple[bytes, int]] = deque()
        """Frames that are about no command."""
        flags = (frames.WITH_PIPES if pipes else 0) | (frames.WITH_INPUT if stdin else 0)
        self._number = line.open(self, flags, encode(fields))
        self.stdin = Stdin(line, self._number) if stdin else None

    async def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        while True:
            while self._queue:
                channel, data = self._queue.popleft()
                if not self._finished:
                    self._line.send(self._number, Kind.CREDIT, len(data).to_bytes(4, "big"))
                yield channel, data
            if self._finished:
                return
            self._wake.clear()
            await self._wake.wait()

    async def exit_code(self) -> int:
        """Raises OSError when the command could not be started, MachineLost when the connection ended."""
        if self._refused is not None:
            raise RefusedError(*self._refused)
        if self._exit_code is None:
            raise MachineLost(
                f"the connection into the machine ended while a command ran{self._why}; the command was ended with it"
            )
        return self._exit_code

    async def answer(self) -> tuple[bytes, int]:
        """The next of the agent's frames, to an operation without pipes. Raises MachineLost."""
        try:
            async with asyncio.timeout(_REPLY_LIMIT_S):
                while not self.answers:
                    if self._gone is not None:
                        raise MachineLost(f"the machine's agent hung up{self._why}")
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            raise MachineLost("the machine's agent does not answer") from None
        return self.answers.popleft()

    async def kill(self) -> None:
        if self._gone is not None or self._refused is not None:
            return
        self._line.send(self._number, Kind.KILL)
        await self._killed.wait()

    async def aclose(self) -> None:
        self._line.close(self._number)

    def take(self, kind: int, payload: bytes) -> None:
        """Called by the line for each frame."""
        match kind:
            case Kind.OUT:
                self._queue.append(("stdout", payload))
            case Kind.ERR:
                self._queue.append(("stderr", payload))
            case Kind.FRAME if len(payload) == _AGENT_FRAME_BYTES:
                self._answered(payload[:1], int.from_bytes(payload[1:], "big"))
            case Kind.TAKEN | Kind.BROKEN:
                if self.stdin is not None:
                    self.stdin.take(None if kind == Kind.BROKEN else int.from_bytes(payload, "big"))
            case Kind.GONE:
                self._gone = payload.decode("utf-8", "replace")
                self._killed.set()
                if self.stdin is not None:
                    self.stdin.take(None)
        self._wake.set()

    @property
    def _finished(self) -> bool:
        return self._exit_code is not None or self._refused is not None or self._gone is not None

    @property
    def _why(self) -> str:
        return f" ({self._gone})" if self._gone else ""

    def _answered(self, letter: bytes, value: int) -> None:
        match letter:
            case b"E":
                self._exit_code = value & 0xFF
            case b"K":
                self._killed.set()
            case b"X":
                self.exceeded = exceeded(self.exceeded, value)
            case b"C" | b"R":
                self._refused = (letter, value)
                self._killed.set()
            case _:
                self.answers.append((letter, value))


class Stdin:
    """A command's standard input: as much is sent ahead as the relay has room for."""

    def __init__(self, line: Line, number: int) -> None:
        self._line = line
        self._number = number
        self._pending = memoryview(b"")
        self._room = frames.WINDOW_BYTES
        self._after: Callable[[], None] | None = None
        self._closed = False
        self.broken = False
        """The command reads no more."""

    def feed_and_close(self, data: bytes) -> None:
        """Sends all of it as the command reads, without anybody waiting."""
        self._begin(data, self.close)

    async def write(self, data: bytes) -> None:
        """Returns when all of it is on its way, or nobody reads any more."""
        done = asyncio.Event()
        self._begin(data, done.set)
        await done.wait()

    def close(self) -> None:
        """Also gives up on what has not been sent."""
        self._pending = memoryview(b"")
        if not self._closed:
            self._closed = True
            self._line.send(self._number, Kind.END_INPUT)

    def take(self, taken_bytes: int | None) -> None:
        """The relay has written so much, or cannot any more."""
        if taken_bytes is None:
            self.broken = True
            self._pending = memoryview(b"")
        else:
            self._room += taken_bytes
        self._send_some()

    def _begin(self, data: bytes, after: Callable[[], None]) -> None:
        self._pending = memoryview(b"" if self.broken or self._closed else data)
        self._after = after
        self._send_some()

    def _send_some(self) -> None:
        while self._pending and self._room > 0:
            piece = self._pending[: min(self._room, frames.CHUNK_BYTES)]
            self._pending = self._pending[len(piece) :]
            self._room -= len(piece)
            self._line.send(self._number, Kind.INPUT, bytes(piece))
        if not self._pending and self._after is not None:
            after, self._after = self._after, None
            after()
