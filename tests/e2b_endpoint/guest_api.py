"""envd's Connect services on a sandbox, behind the SDK's own generated server stubs.

Sources: e2b-dev/infra `packages/envd/internal/services/{process,filesystem}`; where a text matters to the SDK, it is
envd's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import posixpath
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.filesystem import filesystem_connect
from e2b.envd.filesystem import filesystem_pb as fs
from e2b.envd.process import process_connect
from e2b.envd.process import process_pb as pb
from protobuf import Oneof
from protobuf.wkt import Timestamp

from tests.e2b_endpoint.box import HOME, PATH, Box, GuestGone, GuestRefused, Order, Size
from tests.e2b_endpoint.clock import GuestClock, RunningTime
from tests.e2b_endpoint.processes import InputError, Process, Processes, events

DEFAULT_USER = "user"
HOMES = {"user": HOME, "root": "/root"}
"""Both are uid 1000 here: a deviation. bubblewrap gives a sandbox one user, and E2B's root owns nothing of ours."""
DEFAULT_KEEPALIVE_S = 90.0


@dataclass(slots=True)
class Guest:
    """What envd knows of the sandbox that it runs in."""

    box: Box
    env: dict[str, str]
    clock: GuestClock = field(default_factory=GuestClock)
    processes: Processes = field(init=False)

    def __post_init__(self) -> None:
        self.processes = Processes(self.box)


def user_of(authorization: str | None) -> str:
    """The user of a Basic header with an empty password (permissions/authenticate.go). Raises ConnectError."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return DEFAULT_USER
    try:
        name = base64.b64decode(value).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return DEFAULT_USER
    if name not in HOMES:
        raise ConnectError(Code.UNAUTHENTICATED, f"invalid username: '{name}'")
    return name


def resolve(path: str, user: str) -> str:
    """permissions/path.go: ExpandAndResolve. Raises ConnectError."""
    if path.startswith("~"):
        if path[1:2] not in ("", "/", "\\"):
            raise ConnectError(
                Code.INVALID_ARGUMENT,
                f"failed to expand path '' for user '{user}': cannot expand user-specific home dir",
            )
        path = posixpath.join(HOMES[user], path[1:].lstrip("/"))
    if not path:
        return HOME  # the template's default directory, whoever the user
    if posixpath.isabs(path):
        return path
    return posixpath.normpath(posixpath.join(HOMES[user], path))


def connect_error(error: GuestRefused | GuestGone) -> ConnectError:
    if isinstance(error, GuestGone):
        return ConnectError(Code.UNAVAILABLE, "the connection to the sandbox ended before the stream completed")
    code = Code.RESOURCE_EXHAUSTED if error.code == "no_space" else Code(error.code)
    return ConnectError(code, str(error))


Context = RequestContext[Any, Any]


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
            ended = self._guest.processes.find_ended(request.process)
            if ended is None:
                raise _no_such_process(request.process)
            start = pb.ProcessEvent.StartEvent(pid=ended.pid)
            yield pb.ConnectResponse(event=pb.ProcessEvent(event=Oneof("start", start)))
            yield pb.ConnectResponse(event=pb.ProcessEvent(event=Oneof("end", ended.end)))
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
                case Oneof(field="start", value=start):
                    process = self._found(start.process)
                case Oneof(field="data", value=data) if process is not None:
                    await _write(process, data.input)
                case Oneof(field="keepalive"):
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


class FilesystemService(filesystem_connect.Filesystem):
    """filesystem.Filesystem."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    async def stat(self, request: fs.StatRequest, ctx: Context, /) -> fs.StatResponse:
        return fs.StatResponse(entry=entry_info((await self._ask(ctx, "stat", path=request.path))["entry"]))

    async def make_dir(self, request: fs.MakeDirRequest, ctx: Context, /) -> fs.MakeDirResponse:
        return fs.MakeDirResponse(entry=entry_info((await self._ask(ctx, "make_dir", path=request.path))["entry"]))

    async def move(self, request: fs.MoveRequest, ctx: Context, /) -> fs.MoveResponse:
        answer = await self._ask(ctx, "move", source=request.source, destination=request.destination)
        return fs.MoveResponse(entry=entry_info(answer["entry"]))

    async def list_dir(self, request: fs.ListDirRequest, ctx: Context, /) -> fs.ListDirResponse:
        user = user_of(ctx.request_headers.get("authorization"))
        answer = await self._asked("list", path=resolve(request.path, user), depth=request.depth or 1)
        return fs.ListDirResponse(entries=[entry_info(entry) for entry in answer["entries"]])

    async def remove(self, request: fs.RemoveRequest, ctx: Context, /) -> fs.RemoveResponse:
        await self._ask(ctx, "remove", path=request.path)
        return fs.RemoveResponse()

    async def _ask(self, ctx: Context, op: str, **paths: str) -> dict[str, Any]:
        user = user_of(ctx.request_headers.get("authorization"))
        return await self._asked(op, **{name: resolve(path, user) for name, path in paths.items()})

    async def _asked(self, op: str, **fields: object) -> dict[str, Any]:
        try:
            return await self._guest.box.ask(op, **fields)
        except (GuestRefused, GuestGone) as error:
            raise connect_error(error) from error


def entry_info(entry: dict[str, Any]) -> fs.EntryInfo:
    seconds, nanoseconds = divmod(entry["modified_ns"], 1_000_000_000)
    return fs.EntryInfo(
        name=entry["name"],
        type=fs.FileType(entry["type"]),
        path=entry["path"],
        size=entry["size"],
        mode=entry["mode"],
        permissions=entry["permissions"],
        owner=entry["owner"],
        group=entry["group"],
        modified_time=Timestamp(seconds=seconds, nanos=nanoseconds),
        symlink_target=entry.get("symlink_target"),
        metadata=entry["metadata"],
        is_symlink=entry.get("is_symlink", False),
    )
