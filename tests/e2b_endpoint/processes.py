"""Commands of one sandbox, as envd keeps them (e2b-dev/infra `packages/envd/internal/services/process`).

What follows from there: a command has ended when both its pipes are at their end, not when it exits; SIGKILL and
SIGTERM stop the waiting for the pipes; the command's deadline kills its leader alone and holds whether a client is
connected or not; output with nobody to hear it is lost; how a command ended is remembered for 30 s.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass

from e2b.envd.process import process_pb as pb
from protobuf import Oneof

from tests.e2b_endpoint.box import Box, Child, GuestGone, GuestRefused, Size
from tests.e2b_endpoint.clock import RunningTime
from tests.e2b_endpoint.process_events import end_event, ended, keepalive, output, some, started
from tests.e2b_endpoint.wire import readable, write_all

RETAINED_S = 30.0
CHUNK_BYTES = {"stdout": 32 * 1024, "stderr": 32 * 1024, "pty": 16 * 1024}


class InputError(Exception):
    """envd cannot write to the command."""


class Subscription:
    """One client's view of a command's output: what comes from now on. One piece at a time, so that it holds back."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[pb.ProcessEvent.DataEvent | None] = asyncio.Queue(1)
        self.cancelled = False

    async def put(self, event: pb.ProcessEvent.DataEvent | None) -> None:
        if not self.cancelled:
            await self._queue.put(event)

    async def get(self) -> pb.ProcessEvent.DataEvent | None:
        """None: there will be no more."""
        return await self._queue.get()

    def cancel(self) -> None:
        self.cancelled = True
        while not self._queue.empty():
            self._queue.get_nowait()


class Process:
    """One command from its start to its end."""

    def __init__(self, child: Child, request: pb.StartRequest, box: Box, deadline: RunningTime | None) -> None:
        assert request.process is not None
        self.pid = child.pid
        self.config = request.process
        self.tag = request.tag if request.has_field("tag") else None
        self.end: pb.ProcessEvent.EndEvent | None = None
        self._child = child
        self._box = box
        self._subscribers: list[Subscription] = []
        self._fan_out = asyncio.Lock()
        self._output_cancelled = asyncio.Event()
        self._stdin_lock = asyncio.Lock()
        self._deadline = deadline

    def subscribe(self) -> Subscription:
        subscription = Subscription()
        if self.end is None:
            self._subscribers.append(subscription)
        else:
            subscription._queue.put_nowait(None)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        subscription.cancel()
        self._subscribers = [other for other in self._subscribers if other is not subscription]

    async def run(self, ended: Callable[[Process], None]) -> None:
        """Until the command has ended and all of it has been told. Raises GuestGone."""
        pumps = [asyncio.create_task(self._pump(kind, fd)) for kind, fd in self._child.outputs.items()]
        cancelled = asyncio.create_task(self._output_cancelled.wait())
        timer = asyncio.create_task(self._kill_at_deadline())
        tasks = [*pumps, cancelled, timer]
        try:
            whole = asyncio.ensure_future(asyncio.wait(pumps))
            tasks.append(whole)  # type: ignore[arg-type]  # cancelled like the others
            await asyncio.wait([whole, cancelled], return_when=asyncio.FIRST_COMPLETED)
            self.end = end_event(await self._child.status())
            ended(self)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._close_streams()
            async with self._fan_out:
                for subscription in self._subscribers:
                    await subscription.put(None)
                self._subscribers = []

    async def signal(self, number: int) -> None:
        """Raises GuestGone, GuestRefused."""
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._output_cancelled.set()
        await self._box.ask("signal", pid=self.pid, signal=int(number))

    async def write(self, data: bytes, *, terminal: bool) -> None:
        """Returns when all of it is in the pipe. Raises InputError."""
        if terminal and "pty" not in self._child.outputs:
            raise InputError(
                "error writing to tty: tty not assigned to process — input should be written to the stdin, not the tty"
            )
        if not terminal and "pty" in self._child.outputs:
            raise InputError(
                "error writing to stdin: tty assigned to process — input should be written to the pty, not the stdin"
            )
        async with self._stdin_lock:
            if self._child.stdin < 0:
                raise InputError("error writing to stdin: stdin not enabled or closed")
            try:
                await write_all(self._child.stdin, data)
            except OSError as error:
                raise InputError(
                    f"error writing to stdin: error writing to stdin of process '{self.pid}': write |1: "
                    f"{os.strerror(error.errno or errno.EPIPE).lower()}"
                ) from error

    async def close_stdin(self) -> None:
        """Raises InputError."""
        if "pty" in self._child.outputs:
            raise InputError("error closing stdin: cannot close stdin for PTY process — send Ctrl+D (0x04) instead")
        async with self._stdin_lock:
            self._close_input()

    def resize(self, size: Size) -> None:
        """Raises InputError."""
        if "pty" not in self._child.outputs:
            raise InputError("error resizing tty: tty not assigned to process")
        self._child.resize(size)

    async def _pump(self, kind: str, fd: int) -> None:
        while True:
            try:
                data = os.read(fd, CHUNK_BYTES[kind])
            except BlockingIOError:
                await readable(fd)
                continue
            except OSError as error:
                if error.errno != errno.EIO:  # a terminal without users
                    raise
                return
            if not data:
                return
            async with self._fan_out:
                for subscription in self._subscribers:
                    await subscription.put(output(kind, data))

    async def _kill_at_deadline(self) -> None:
        if self._deadline is not None:
            await self._deadline.wait()
            with suppress(GuestGone, GuestRefused):
                await self.signal(signal.SIGKILL)

    def _close_input(self) -> None:
        if self._child.stdin >= 0:
            fd, self._child.stdin = self._child.stdin, -1
            os.close(fd)

    def _close_streams(self) -> None:
        self._child.conversation.close()
        self._close_input()
        for fd in self._child.outputs.values():
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Retained:
    """How a command ended, for those who ask late."""

    pid: int
    tag: str | None
    end: pb.ProcessEvent.EndEvent


class Processes:
    """The table of a sandbox's commands."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._live: dict[int, Process] = {}
        self._ended: dict[int, Retained] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()

    def add(self, process: Process) -> None:
        self._ended.pop(process.pid, None)
        if process.tag is not None:
            self._ended = {pid: ended for pid, ended in self._ended.items() if ended.tag != process.tag}
        self._live[process.pid] = process
        task = asyncio.create_task(self._run(process))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def live(self) -> list[Process]:
        return list(self._live.values())

    def find(self, selector: pb.ProcessSelector | None) -> Process | None:
        return next((process for process in self._live.values() if _selects(selector, process.pid, process.tag)), None)

    def find_ended(self, selector: pb.ProcessSelector | None) -> Retained | None:
        return next((ended for ended in self._ended.values() if _selects(selector, ended.pid, ended.tag)), None)

    async def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, process: Process) -> None:
        try:
            await process.run(self._retire)
        except GuestGone:
            self._live.pop(process.pid, None)

    def _retire(self, process: Process) -> None:
        assert process.end is not None
        self._live.pop(process.pid, None)
        retained = Retained(process.pid, process.tag, process.end)
        self._ended[process.pid] = retained

        def forget() -> None:
            self._timers.discard(timer)
            if self._ended.get(process.pid) is retained:
                del self._ended[process.pid]

        timer = asyncio.get_running_loop().call_later(RETAINED_S, forget)
        self._timers.add(timer)


def _selects(selector: pb.ProcessSelector | None, pid: int, tag: str | None) -> bool:
    match selector.selector if selector is not None else None:
        case Oneof(field="pid", value=value):
            return bool(value == pid)
        case Oneof(field="tag", value=value):
            return tag is not None and bool(value == tag)
    return False


async def events(process: Process, keepalive_s: float) -> AsyncGenerator[pb.ProcessEvent, None]:
    """A command's story from now on: data as it comes, the end last, a sign of life when nothing comes."""
    subscription = process.subscribe()
    try:
        yield started(process.pid)
        while True:
            try:
                async with asyncio.timeout(keepalive_s):
                    data = await subscription.get()
            except TimeoutError:
                yield keepalive()
                continue
            if data is None:
                break
            yield some(data)
        if process.end is not None:
            yield ended(process.end)
    finally:
        process.unsubscribe(subscription)
