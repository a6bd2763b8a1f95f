"""One running command in a sandbox: its output over however many streams it takes, each byte once.

When a stream breaks, the same request is sent again with what has arrived so far: the supervisor in the machine then
follows the command that is running already. So a dropped connection, a busy proxy or a pause is not a failed command.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar, Protocol

from gitmachine.errors import MachineError, MachineUnreachable
from gitmachine.machines.command import Channel, CommandStream
from gitmachine.machines.e2b.service import ATTEMPTS, NotRunning, pause_before, translated
from gitmachine.machines.e2b.wire import Answer, Request

_QUEUED = 64
_FLUSHED = "\ufffd"
"""What the SDK makes of a character that was cut off in the middle."""
_SILENCE_S = 300.0
"""After so long without output the stream is taken up anew: a connection can die without a word."""
_OPEN_LIMIT_S = 60.0


class Line(Protocol):
    """The way to the machine, as a command needs it."""

    async def sandbox(self) -> Any:
        """The SDK's object, once the machine runs. Raises MachineLost, StateError."""

    async def look(self, *, begun: bool) -> None:
        """Asks the service for the machine's state.

        Raises MachineLost when there is none any more, StateError for what has not `begun` on a paused one.
        """

    async def kill(self, request: Request) -> None:
        """Ends the command of a request, begun or not."""

    def take_done(self) -> list[str]:
        """The ids of calls whose leavings in the machine can go."""

    def give_done(self, ids: list[str]) -> None:
        """Has them removed with the next call."""


class SupervisedCommand(CommandStream):
    """A command that runs under the supervisor."""

    kill_limit_s: ClassVar[float] = 30.0

    def __init__(self, line: Line, request: Request) -> None:
        self._line = line
        self._request = request
        self._out = Arrived(request.marker)
        self._err = Arrived(None)
        self._queue: asyncio.Queue[tuple[Channel, bytes] | Exception | None] = asyncio.Queue(_QUEUED)
        self._pump: asyncio.Task[None] | None = None
        self._handle: Any = None
        self._heard = 0.0
        self._suspended = False
        self._again = False
        self._begun = False
        self.answer: Answer | None = None

    async def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        while (item := await self._queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    async def exit_code(self) -> int:
        assert self.answer is not None
        return self.answer.number

    async def kill(self) -> None:
        await self._line.kill(self._request)

    async def aclose(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        if self.answer is not None:
            self._line.give_done([self._request.id])

    async def suspend(self) -> None:
        """Lets go of the stream for a pause; the command's output is taken up again after the resume."""
        self._suspended = True
        if self._handle is not None:
            await self._handle.disconnect()

    # --- inside: all of it in the pump's own task -----------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._to_the_end()
        except Exception as error:  # noqa: BLE001  handed to who waits for the output
            await self._queue.put(error)
        else:
            await self._queue.put(None)

    async def _to_the_end(self) -> None:
        failures = 0
        while self.answer is None:
            before = self._out.position, self._err.position
            try:
                await self._stream()
                if self.answer is not None or self._again:
                    continue
                error: MachineError = MachineError("the machine's supervisor of commands ends without an answer")
            except NotRunning as gone:
                await self._line.look(begun=self._begun)
                error = gone
            except MachineUnreachable as unreachable:
                error = unreachable
            failures = 1 if before != (self._out.position, self._err.position) else failures + 1
            if failures == ATTEMPTS:
                raise error
            await asyncio.sleep(pause_before(failures))
        if rest := self._err.last():
            await self._queue.put(("stderr", rest.encode()))

    async def _stream(self) -> None:
        sandbox = await self._line.sandbox()
        self._suspended = self._again = False
        acknowledged = self._line.take_done()
        environment = self._request.environment((self._out.rewind(), self._err.rewind()), acknowledged)
        try:
            self._handle = await sandbox.commands.run(
                self._request.call(),
                background=True,
                envs=environment,
                timeout=0,
                request_timeout=_OPEN_LIMIT_S,
                on_stdout=self._taking("stdout", self._out),
                on_stderr=self._taking("stderr", self._err),
                retain_output=False,
            )
            self._begun = True
            await self._until_its_end()
        except Exception as error:  # the SDK raises bare ones
            self._line.give_done(acknowledged)
            if self._suspended:
                self._again = True
                return
            raise translated("a command's stream", error) from error
        finally:
            handle, self._handle = self._handle, None
            if handle is not None:
                await handle.disconnect()

    async def _until_its_end(self) -> None:
        """Waits for the stream's end, unless nothing is heard on it for long. Raises what the SDK raises."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        waiting = asyncio.ensure_future(self._handle.wait())
        try:
            while not waiting.done() and loop.time() < self._heard + _SILENCE_S:
                await asyncio.wait([waiting], timeout=self._heard + _SILENCE_S - loop.time())
            if not waiting.done():
                self._again = True
                return
        finally:
            waiting.cancel()
            await asyncio.wait([waiting])
        self._finish(waiting)

    def _finish(self, waiting: asyncio.Future[Any]) -> None:
        if waiting.cancelled():
            raise MachineUnreachable("the stream of a command was let go of")
        error = waiting.exception()
        code = 0 if error is None else getattr(error, "exit_code", None)
        if error is not None and code is None:
            raise error
        if self._out.trailer:
            self.answer = Answer.parsed(self._out.trailer)
        elif code in (126, 127):
            raise MachineError(
                "the machine has no perl, or no bash, to run commands with: use a template that has `perl` or "
                f"`perl-base` (exit code {code})"
            )

    def _taking(self, channel: Channel, arrived: Arrived) -> Callable[[str], Awaitable[None]]:
        async def take(text: str) -> None:
            self._heard = asyncio.get_running_loop().time()
            if new := arrived.take(text):
                await self._queue.put((channel, new.encode()))

        return take


class Arrived:
    """What has come of one channel, counted so that another stream can go on where this one stopped.

    The SDK gives text, in which bytes that are no UTF-8 have become U+FFFD. Up to the first of these the bytes are
    known; from there on characters are counted, and are skipped when they come again.
    """

    def __init__(self, marker: str | None) -> None:
        self._marker = marker
        self._bytes = 0
        self._characters = 0
        self._skip = 0
        self._held = ""
        self._flushed = False
        self._after = ""
        self._marked = False

    @property
    def position(self) -> tuple[int, int]:
        return self._bytes, self._characters

    @property
    def trailer(self) -> str:
        """What came after the marker, once all of it has."""
        return self._after.strip() if self._after.endswith("\n") else ""

    def rewind(self) -> int:
        """The byte offset to ask the next stream for."""
        self._skip = self._characters
        self._held = self._after = ""
        self._flushed = self._marked = False
        return self._bytes

    def take(self, text: str) -> str:
        """Of a piece of the stream what is new, and is the command's output."""
        if self._marked:
            self._after += text
            return ""
        if self._flushed:
            self._flushed, text = False, _FLUSHED + text
        elif text == _FLUSHED:
            # Either the command's, or the SDK's word for a character that a broken connection has cut in two.
            self._flushed = True
            return ""
        text = self._held + text
        self._held = ""
        if self._marker is not None:
            text = self._without_marker(text, self._marker)
        return self._counted(text)

    def last(self) -> str:
        """What was held back, when the stream has ended as it should."""
        text = self._held + (_FLUSHED if self._flushed else "")
        self._held, self._flushed = "", False
        return self._counted(text)

    def _without_marker(self, text: str, marker: str) -> str:
        before, found, after = text.partition(marker)
        if found:
            self._marked, self._after = True, after
            return before
        for start in range(max(0, len(text) - len(marker) + 1), len(text)):
            if marker.startswith(text[start:]):
                self._held = text[start:]
                return text[:start]
        return text

    def _counted(self, text: str) -> str:
        if self._skip:
            skipped, text = text[: self._skip], text[self._skip :]
            self._skip -= len(skipped)
        clean = "" if self._characters else text.partition(_FLUSHED)[0]
        self._bytes += len(clean.encode())
        self._characters += len(text) - len(clean)
        return text
