"""One place for the deadline, the kill of the process tree and the bounded collection of output.

Providers only deliver bytes: they implement `CommandStream`, and `collect` does the rest.
"""

from __future__ import annotations

import asyncio
import codecs
import inspect
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, ClassVar, Literal, Self, TypeVar

from gitmachine.types import ExecuteOptions, ExecutionResult, OutputCallback

log = logging.getLogger(__name__)

Channel = Literal["stdout", "stderr"]
_T = TypeVar("_T")

TIMEOUT_EXIT_CODE = 124
KILL_LIMIT_S = 5.0


class CommandStream(ABC):
    """One running command, as a provider sees it. Its duration counts from `started`."""

    exceeded: tuple[str, ...] = ()
    """Limits of the machine that the command ran into; see ExecutionResult."""
    started: float
    """On the clock of `time.monotonic`; when the stream was made, unless whoever began the command before says when."""

    def __new__(cls, *_arguments: object, **_keywords: object) -> Self:
        stream = super().__new__(cls)
        stream.started = time.monotonic()
        return stream

    closes_at_once: ClassVar[bool] = False
    """`aclose` waits for nothing, so that no cancellation can find it half done."""
    kill_limit_s: ClassVar[float] = KILL_LIMIT_S
    """How long this provider's kill, and the reading of what was still under way, may take together."""

    @abstractmethod
    def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """The bytes as they come; ends when the command has ended, with or without children of it left."""

    @abstractmethod
    async def exit_code(self) -> int:
        """The exit status, 128 + n for signal n. Asked after `output` has ended."""

    @abstractmethod
    async def kill(self) -> None:
        """Kills the whole tree and returns when none of it is left. `output` ends soon after."""

    @abstractmethod
    async def aclose(self) -> None:
        """Frees what the stream holds. Called once, always."""


async def collect(stream: CommandStream, options: ExecuteOptions) -> ExecutionResult:
    """Follows a command to its end, within `options.timeout`, and gives its result.

    When the caller is cancelled, once or more often, the tree is killed before the cancellation goes on. A
    callback that a deadline or a cancellation finds waiting is let go of and sees no more.
    """
    out = _Collector(options.on_stdout, options.max_output_bytes)
    err = _Collector(options.on_stderr, options.max_output_bytes)
    timed_out = False
    exit_code = TIMEOUT_EXIT_CODE
    try:
        try:
            async with asyncio.timeout(options.timeout) as deadline:
                await _follow(stream, out, err)
                exit_code = await stream.exit_code()
        except TimeoutError:
            if not deadline.expired():  # the provider's own, such as a connection that timed out
                raise
            timed_out = True
            await to_its_end(_end(stream, out, err))
        except asyncio.CancelledError:
            await to_its_end(_end(stream, out, err))
            raise
    finally:
        await (stream.aclose() if stream.closes_at_once else to_its_end(stream.aclose()))
    await out.finish()
    await err.finish()
    return ExecutionResult(
        exit_code=exit_code,
        stdout=out.text(),
        stderr=err.text(),
        timed_out=timed_out,
        truncated=out.truncated or err.truncated,
        duration=time.monotonic() - stream.started,
        exceeded=stream.exceeded,
    )


async def to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Sees something through, such as a clean-up, whatever cancellations arrive meanwhile; they go on afterwards."""
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()


async def _follow(stream: CommandStream, out: _Collector, err: _Collector) -> None:
    async for channel, data in stream.output():
        await (out if channel == "stdout" else err).feed(data)


async def _end(stream: CommandStream, out: _Collector, err: _Collector) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(stream.kill_limit_s):
            await stream.kill()
            await _follow(stream, out, err)


class _Collector:
    """Keeps the head and the tail of one channel and hands all of it to the callback as whole characters."""

    def __init__(self, callback: OutputCallback | None, limit_bytes: int | None) -> None:
        self._callback = callback
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._head_limit = None if limit_bytes is None else (limit_bytes + 1) // 2
        self._tail_limit = 0 if limit_bytes is None else limit_bytes // 2
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._cut = 0

    @property
    def truncated(self) -> bool:
        return self._cut > 0

    async def feed(self, data: bytes) -> None:
        self._keep(data)
        if self._callback is not None:
            await self._hand_over(self._decoder.decode(data))

    async def finish(self) -> None:
        if self._callback is not None:
            await self._hand_over(self._decoder.decode(b"", final=True))

    def text(self) -> str:
        if not self._cut:
            return (bytes(self._head) + b"".join(self._tail)).decode("utf-8", "replace")
        # The cut falls anywhere, also inside a character: half ones at its two edges are dropped.
        head = codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(self._head))
        tail = _from_first_character(b"".join(self._tail)).decode("utf-8", "replace")
        return f"{head}\n[... {self._cut} bytes cut ...]\n{tail}"

    def _keep(self, data: bytes) -> None:
        if self._head_limit is None:
            self._head += data
            return
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if not data:
            return
        self._tail.append(data)
        self._tail_size += len(data)
        self._trim()

    def _trim(self) -> None:
        while (excess := self._tail_size - self._tail_limit) > 0:
            first = self._tail.popleft()
            dropped = min(excess, len(first))
            if dropped < len(first):
                self._tail.appendleft(first[dropped:])
            self._tail_size -= dropped
            self._cut += dropped

    async def _hand_over(self, text: str) -> None:
        if not text or self._callback is None:
            return
        try:
            answer = self._callback(text)
            if inspect.isawaitable(answer):
                await answer
        except asyncio.CancelledError:
            self._callback = None
            raise
        except Exception:  # an observer's failure is its own: the command goes on
            log.exception("an output callback raised")


def _from_first_character(data: bytes) -> bytes:
    """Without the continuation bytes (RFC 3629: 10xxxxxx, at most three) of a character that began before."""
    start = next((i for i, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
    return data[start:]
