"""process.Process on a sandbox, behind the SDK's own generated server stubs.

Source: e2b-dev/infra `packages/envd/internal/services/process`; where a text matters to the SDK, it is envd's.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from e2b.envd.process import process_connect
from e2b.envd.process import process_pb as pb
from protobuf import Oneof

from tests.e2b_endpoint.box import PATH, GuestGone, GuestRefused, Order, Size
from tests.e2b_endpoint.clock import RunningTime
from tests.e2b_endpoint.envd import HOMES, Context, Guest, connect_error, resolve, user_of
from tests.e2b_endpoint.process_events import ended, started
from tests.e2b_endpoint.processes import InputError, Process, events

DEFAULT_KEEPALIVE_S = 90.0


class ProcessService(process_connect.Process):
    """process.Process."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    async def start(self, request: pb.StartRequest, ctx: Context, /) -> AsyncGenerator[pb.StartResponse, None]:
        timeout = _timeout(ctx)
        deadline = None if timeout is None else RunningTime(self._guest.clock, timeout)
        process = await self._launch(request, user_of(ctx.request_headers.get("authorization")), deadline)
        self._guest.processes.add(process)
        async with aclosing(_bounded(events(process, _keepalive(ctx)), deadline)) as stream:
            async for event in stream:
                yield pb.StartResponse(event=event)

    async def connect(self, request: pb.ConnectRequest, ctx: Context, /) -> AsyncGenerator[pb.ConnectResponse, None]:
        process = self._guest.processes.find(request.process)
        if process is None:
            retained = self._guest.processes.find_ended(request.process)
            if retained is None:
                raise _no_such_process(request.process)
            yield pb.ConnectResponse(event=started(retained.pid))
            yield pb.ConnectResponse(event=ended(retained.end))
            return
        timeout = _timeout(ctx)
        deadline = None if timeout is None else RunningTime(self._guest.clock, timeout)
        async with aclosing(_bounded(events(process, _keepalive(ctx)), deadline)) as stream:
            async for event in stream:
                yield pb.ConnectResponse(event=event)

    async def list(self, request: pb.ListRequest, ctx: Context, /) -> pb.ListResponse:
        found = [
            pb.ProcessInfo(config=process.config, pid=process.pid, tag=process.tag)
            for process in self._guest.processes.live()
        ]
        return pb.ListResponse(processes=found)

    async def send_signal(self, request: pb.SendSignalRequest, ctx: Context, /) -> pb.SendSignalResponse:
        numbers = {pb.Signal.SIGKILL: signal.SIGKILL, pb.Signal.SIGTERM: signal.SIGTERM}
        process = self._found(request.process)
        if request.signal not in numbers:
            raise ConnectError(Code.UNIMPLEMENTED, f"invalid signal: {request.signal}")
        try:
            await process.signal(numbers[request.signal])
        except (GuestRefused, GuestGone) as error:
            raise connect_error(error) from error
        return pb.SendSignalResponse()

    async def send_input(self, request: pb.SendInputRequest, ctx: Context, /) -> pb.SendInputResponse:
        await _write(self._found(request.process), request.input)
        return pb.SendInputResponse()

    async def stream_input(
        self, request: AsyncIterator[pb.StreamInputRequest], ctx: Context, /
    ) -> pb.StreamInputResponse:
        process: Process | None = None
        async for message in request:
            match message.event:
                case Oneof(value=pb.StreamInputRequest.StartEvent() as start):
                    process = self._found(start.process)
                case Oneof(value=pb.StreamInputRequest.DataEvent() as data) if process is not None:
                    await _write(process, data.input)
                case Oneof(value=pb.StreamInputRequest.KeepAlive()):
                    pass
                case _:
                    raise ConnectError(Code.UNIMPLEMENTED, f"invalid event type {message.event}")
        return pb.StreamInputResponse()

    async def close_stdin(self, request: pb.CloseStdinRequest, ctx: Context, /) -> pb.CloseStdinResponse:
        try:
            await self._found(request.process).close_stdin()
        except InputError as error:
            raise ConnectError(Code.UNKNOWN, str(error)) from error
        return pb.CloseStdinResponse()

    async def update(self, request: pb.UpdateRequest, ctx: Context, /) -> pb.UpdateResponse:
        process = self._found(request.process)
        if request.pty is not None and request.pty.size is not None:
            try:
                process.resize(Size(request.pty.size.cols, request.pty.size.rows))
            except InputError as error:
                raise ConnectError(Code.INTERNAL, str(error)) from error
        return pb.UpdateResponse()

    def _found(self, selector: pb.ProcessSelector | None) -> Process:
        process = self._guest.processes.find(selector)
        if process is None:
            raise _no_such_process(selector)
        return process

    async def _launch(self, request: pb.StartRequest, user: str, deadline: RunningTime | None) -> Process:
        config = request.process or pb.ProcessConfig()
        environment = {"PATH": PATH, "HOME": HOMES[user], "USER": user, "LOGNAME": user}
        size = request.pty.size if request.pty is not None else None
        order = Order(
            argv=(config.cmd, *config.args),
            env={**environment, **self._guest.env, **config.envs},
            cwd=resolve(config.cwd if config.has_field("cwd") else "", user),
            # "For backwards compatibility we still set the stdin if not explicitly disabled" (handler.go)
            stdin=request.stdin if request.has_field("stdin") else True,
            pty=Size(size.cols, size.rows) if size is not None else None,
        )
        try:
            return Process(await self._guest.box.start(order), request, self._guest.box, deadline)
        except (GuestRefused, GuestGone) as error:
            raise connect_error(error) from error


async def _write(process: Process, given: pb.ProcessInput | None) -> None:
    try:
        match given.input if given is not None else None:
            case Oneof(field="stdin", value=bytes(data)):
                await process.write(data, terminal=False)
            case Oneof(field="pty", value=bytes(data)):
                await process.write(data, terminal=True)
            case other:
                raise ConnectError(Code.UNIMPLEMENTED, f"invalid input type {other}")
    except InputError as error:
        raise ConnectError(Code.INTERNAL, str(error)) from error


async def _bounded(
    stream: AsyncGenerator[pb.ProcessEvent, None], deadline: RunningTime | None
) -> AsyncGenerator[pb.ProcessEvent, None]:
    """Ends with DEADLINE_EXCEEDED, as a Go handler does whose context is done."""
    timer = asyncio.create_task(deadline.wait()) if deadline is not None else None
    following: asyncio.Future[pb.ProcessEvent | None] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(stream, None))
            await asyncio.wait([following, timer] if timer else [following], return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise ConnectError(Code.DEADLINE_EXCEEDED, "context deadline exceeded")
            event = following.result()
            if event is None:
                return
            yield event
    finally:
        tasks = [task for task in (following, timer) if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await stream.aclose()


def _timeout(ctx: Context) -> float | None:
    """Connect-Timeout-Ms in seconds; zero is none (start.go)."""
    value = ctx.request_headers.get("connect-timeout-ms")
    return int(value) / 1000 if value and int(value) > 0 else None


def _keepalive(ctx: Context) -> float:
    value = ctx.request_headers.get("keepalive-ping-interval") or ""
    return float(value) if value.isdigit() and int(value) > 0 else DEFAULT_KEEPALIVE_S


def _no_such_process(selector: pb.ProcessSelector | None) -> ConnectError:
    match selector.selector if selector is not None else None:
        case Oneof(field="pid", value=value):
            return ConnectError(Code.NOT_FOUND, f"process with pid {value} not found")
        case Oneof(field="tag", value=value):
            return ConnectError(Code.NOT_FOUND, f"process with tag {value} not found")
    return ConnectError(Code.UNIMPLEMENTED, "invalid input type")
