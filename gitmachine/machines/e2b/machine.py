"""E2BMachine: a sandbox of E2B's cloud, or of one's own, by the `e2b` SDK."""

from __future__ import annotations

import asyncio
import builtins
import os
import posixpath
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from gitmachine.errors import (
    FileError,
    MachineError,
    MachineLost,
    MachineNotFound,
    MachineUnavailable,
    MachineUnreachable,
    StateError,
)
from gitmachine.machine import Machine, Step
from gitmachine.machines.command import collect
from gitmachine.machines.e2b import files, leavings, service
from gitmachine.machines.e2b.command import SupervisedCommand
from gitmachine.machines.e2b.host import host_name
from gitmachine.machines.e2b.lease import Lease
from gitmachine.machines.e2b.options import MARK, START, Options
from gitmachine.machines.e2b.service import NotRunning, ask
from gitmachine.machines.e2b.wire import INLINE_BYTES, Request, as_bytes
from gitmachine.types import Capabilities, ExecuteOptions, ExecutionResult, MachineState

_UNDO_LIMIT_S = 30.0
_SETTLE_S = 0.3
"""Between letting go of streams and a pause: without it their output can be stuck after the resume (infra#3292)."""
_WHOLE_BYTES = 4 * 1024 * 1024
_RUNNING_STATES = {"running": MachineState.RUNNING, "paused": MachineState.PAUSED}


class E2BMachine(Machine):
    """A machine that is an E2B sandbox.

    It outlives this object and this program for as long as its lease lasts: `timeout` seconds, extended while the
    object is held and its event loop runs, at most until `max_lifetime` seconds after the sandbox's start.
    `connect(sandbox_id)` finds it again, paused or running. The template needs git, bash and perl, as Debian images
    with git have them.

    api_key: by default E2B_API_KEY.
    envs: the environment of every command in the sandbox. metadata: seen in E2B's own listings.
    lifecycle: what happens at the end of the lease, such as {"on_timeout": "pause"}; by default the sandbox is killed.
    allow_internet_access, network, secure, volume_mounts, iam, mcp: as the SDK's `AsyncSandbox.create` takes them.
    domain, api_url, sandbox_url, proxy, request_timeout, api_headers, http_version: as the SDK takes them in every
    call; for a self-hosted E2B. Left out, the SDK's own environment variables hold (E2B_DOMAIN and so on).

    Raises ConfigurationError, MissingExtra.
    """

    def __init__(
        self,
        api_key: str | None = None,
        template: str = "base",
        timeout: int = 300,
        envs: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        max_lifetime: int = 86_400,
        secure: bool | None = None,
        allow_internet_access: bool | None = None,
        network: Mapping[str, Any] | None = None,
        lifecycle: Mapping[str, Any] | None = None,
        volume_mounts: Mapping[str, Any] | None = None,
        iam: Mapping[str, Any] | None = None,
        mcp: Mapping[str, Any] | None = None,
        domain: str | None = None,
        api_url: str | None = None,
        sandbox_url: str | None = None,
        proxy: str | None = None,
        request_timeout: float | None = None,
        api_headers: Mapping[str, str] | None = None,
        http_version: str | None = None,
    ) -> None:
        service.require()
        self._options = Options.checked(
            {
                "secure": secure,
                "allow_internet_access": allow_internet_access,
                "network": network,
                "lifecycle": lifecycle,
                "volume_mounts": volume_mounts,
                "iam": iam,
                "mcp": mcp,
            },
            {
                "domain": domain,
                "api_url": api_url,
                "sandbox_url": sandbox_url,
                "proxy": proxy,
                "request_timeout": request_timeout,
                "api_headers": api_headers,
                "http_version": http_version,
            },
            api_key=api_key,
            template=template,
            timeout=timeout,
            envs=dict(envs or {}),
            metadata=dict(metadata or {}),
            max_lifetime=max_lifetime,
        )
        self._id: str | None = None
        self._state = MachineState.IDLE
        self._sandbox: Any = None
        self._labels: dict[str, str] = {}
        self._lease: Lease | None = None
        self._started_at = 0.0
        self._runs = asyncio.Event()
        self._commands: set[SupervisedCommand] = set()
        self._done: list[str] = []
        self._home: str | None = None

    @classmethod
    async def connect(cls, sandbox_id: str, api_key: str | None = None, timeout: int = 300, **options: Any) -> Self:
        """A live sandbox, whichever program started it. A paused one stays paused. `options` are the constructor's.

        Raises MachineNotFound, MachineUnreachable, ConfigurationError, MissingExtra.
        """
        machine = cls(api_key, timeout=timeout, **options)
        machine._id = sandbox_id
        try:
            if await machine.refresh() is MachineState.RUNNING:
                await machine._attach()
        except MachineLost as error:
            raise _not_found(sandbox_id) from error
        return machine

    @classmethod
    async def seen(cls, sandbox_id: str) -> Self:
        """As `connect`, but the sandbox's lease stays as it is until something is done with it."""
        machine = cls()
        machine._id = sandbox_id
        try:
            await machine.refresh()
        except MachineLost as error:
            raise _not_found(sandbox_id) from error
        return machine

    @classmethod
    async def list(cls, **options: Any) -> builtins.list[leavings.Left]:
        """The sandboxes that this host has made, running or paused. `options` are the constructor's."""
        return await leavings.sandboxes(cls(**options)._options.api_params())

    # --- life ---------------------------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        return self._id

    @property
    def state(self) -> MachineState:
        """As the service said it last: see `refresh()`."""
        return self._state

    @property
    def capabilities(self) -> Capabilities:
        open_ = self._options.creation.get("allow_internet_access", True) and "network" not in self._options.creation
        closed = self._options.creation.get("allow_internet_access") is False
        return Capabilities(
            pause_keeps_memory=True,
            isolation="microvm",
            network="unrestricted" if open_ else "none" if closed else "allow-list",
            ports=True,
            compound=True,
            reconnect=True,
            freezer="e2b",
        )

    def another(self) -> E2BMachine:
        """A new machine with the same options."""
        machine = type(self)()
        machine._options = self._options
        return machine

    def label(self, **labels: str) -> None:
        """Goes into the sandbox's metadata, as `gitmachine_…`."""
        self._labels.update({f"{MARK}_{name}": value for name, value in labels.items()})

    async def start(self) -> None:
        """Makes the sandbox. Raises MachineUnavailable, MachineUnreachable, ConfigurationError, StateError.

        When it fails no sandbox is left, unless E2B cannot be reached: then its lease ends it.
        """
        if self._state is not MachineState.IDLE:
            raise StateError(f"machine {self.id} was started before: use it, or make a new E2BMachine")
        params = self._options.api_params()
        sdk = await service.load()
        key = uuid.uuid4().hex
        made: asyncio.Future[Any] = asyncio.ensure_future(self._create(sdk, key, params))
        try:
            sandbox = await asyncio.shield(made)
        except asyncio.CancelledError:
            await asyncio.wait([made], timeout=_UNDO_LIMIT_S)
            made.cancel()
            await asyncio.shield(self._undo(sdk, key, params))
            raise
        except MachineError as error:
            await asyncio.shield(self._undo(sdk, key, params))
            raise error if error.retryable else MachineUnavailable(str(error)) from error
        self._id, self._started_at = sandbox.sandbox_id, time.time()
        self._came_up(sandbox)

    async def pause(self) -> None:
        """Freezes the sandbox with its memory and files. Raises StateError, MachineError.

        Commands that run go on after the resume; who waits for them goes on waiting.
        """
        self._require(MachineState.RUNNING, "pause()")
        await self._let_go()
        if self._commands:
            await asyncio.gather(*(command.suspend() for command in self._commands))
            await asyncio.sleep(_SETTLE_S)
        try:
            # False says that it is paused already.
            await self._service("pause()", "pause")
        except MachineError:
            await self.refresh()
            if self._state is not MachineState.PAUSED:
                self._hold()
                raise
        self._state = MachineState.PAUSED

    async def resume(self) -> None:
        """Lets a paused sandbox go on, with a new lease. Raises StateError, MachineError."""
        self._require(MachineState.PAUSED, "resume()")
        try:
            await self._attach()
        except NotRunning as error:
            raise self._lost() from error

    async def stop(self) -> None:
        """Kills the sandbox, running or paused. What was not brought out of it goes, too. Raises MachineError."""
        await self._let_go()
        if self._id is not None and self._state is not MachineState.STOPPED:
            sdk = await service.load()
            params = self._options.api_params()
            with suppress(NotRunning):
                await ask(f"stop() of {self._id}", lambda: sdk.AsyncSandbox.kill(self._id, **params))
        self._ended()

    async def aclose(self) -> None:
        """Lets go of the sandbox: its lease is extended no more, so `timeout` seconds from now it ends."""
        await self._let_go()

    async def refresh(self) -> MachineState:
        """The state as the service has it. Raises MachineLost when there is no such sandbox any more."""
        if self._id is None or self._state is MachineState.STOPPED:
            return self._state
        try:
            info = await self.get_info()
        except NotRunning as error:
            self._ended()
            raise self._lost() from error
        self._started_at = info.started_at.timestamp()
        state = _RUNNING_STATES[str(getattr(info.state, "value", info.state))]
        if state is MachineState.PAUSED:
            self._runs.clear()
        self._state = state
        return state

    # --- the seed's own -----------------------------------------------------------------------------------

    def get_sandbox(self) -> Any:
        """The SDK's AsyncSandbox. Raises StateError before `start()`, and after `connect()` to a paused one."""
        if self._sandbox is None:
            raise StateError("there is no AsyncSandbox yet: start() or resume() the machine first")
        return self._sandbox

    def get_sandbox_id(self) -> str | None:
        """The same as `id`."""
        return self._id

    async def set_timeout(self, seconds: int) -> None:
        """A lease of that many seconds from now, and as many at each extension."""
        self._require(MachineState.RUNNING, "set_timeout()")
        self._options = replace(self._options, timeout=seconds)
        await self._let_go()
        await self._service("set_timeout()", "set_timeout", seconds)
        self._hold()

    async def get_info(self) -> Any:
        """The SDK's SandboxInfo: template, metadata, times, state, resources."""
        if self._id is None:
            raise StateError("there is no sandbox yet: start() the machine first")
        sdk, params = await service.load(), self._options.api_params()
        return await ask(f"get_info() of {self._id}", lambda: sdk.AsyncSandbox.get_info(self._id, **params))

    async def is_running(self) -> bool:
        """Whether the sandbox runs, as the service says it."""
        try:
            return await self.refresh() is MachineState.RUNNING
        except MachineLost:
            return False

    def get_host(self, port: int) -> str:
        """The public name under which a port of the sandbox is reached."""
        return str(self.get_sandbox().get_host(port))

    # --- commands -----------------------------------------------------------------------------------------

    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        """Runs `command` in bash, with the environment of a login shell, and waits for its end, however long.

        Raises StateError, MachineLost, MachineUnreachable, OSError for a `cwd` that is not there, ConfigurationError.
        """
        result, _ = await self.execute_then(command, options or ExecuteOptions(), ())
        return result

    async def execute_then(
        self, command: str, options: ExecuteOptions, steps: Sequence[Step]
    ) -> tuple[ExecutionResult, tuple[ExecutionResult, ...] | None]:
        self._require(MachineState.RUNNING, "execute()")
        request = Request.of(command, options, steps, await self._sent(options.stdin))
        running = SupervisedCommand(self, request)
        self._commands.add(running)
        try:
            result = await collect(running, options)
        finally:
            self._commands.discard(running)
        answer = running.answer
        if answer is None:  # killed at its deadline
            return result, None
        self._home = answer.home
        if answer.what == "cwd":
            message = "this working directory cannot be entered in the machine"
            raise OSError(answer.number, message, posixpath.join(answer.home, options.cwd or ""))
        if answer.what == "exec":
            raise MachineError(f"the machine could not start a command: {os.strerror(answer.number)}")
        if answer.missing:
            result = replace(
                result, truncated=True, stderr=f"{result.stderr}[... output was lost with a connection ...]\n"
            )
        return result, None if result.timed_out or len(answer.steps) < len(steps) else answer.steps

    async def home(self) -> str:
        if self._home is None:
            await self.execute(":")
        return self._home or "/home/user"

    # --- files --------------------------------------------------------------------------------------------

    async def read_file(self, path: str) -> str:
        data = await self.read_bytes(path)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FileError(f"{path!r} in the machine is not UTF-8 text ({error}); use read_bytes()") from error

    async def read_bytes(self, path: str) -> bytes:
        self._require(MachineState.RUNNING, "read_bytes()")
        where = await self._absolute(path)
        with files.named(path):
            return bytes(await self._ask("read_bytes()", lambda box: box.files.read(where, format="bytes")))

    async def write_file(self, path: str, content: str | bytes) -> None:
        self._require(MachineState.RUNNING, "write_file()")
        where = await self._absolute(path)
        data = as_bytes(content)
        with files.named(path):
            await self._ask(
                "write_file()",
                lambda box: box.files.write(where, data if len(data) <= _WHOLE_BYTES else files.pieces(data)),
            )

    async def write_bytes(self, path: str, content: bytes | AsyncIterator[bytes]) -> None:
        """From a stream by way of a file on this host, so that it can be sent again when a connection breaks."""
        if isinstance(content, bytes):
            await self.write_file(path, content)
            return
        self._require(MachineState.RUNNING, "write_bytes()")
        where = await self._absolute(path)
        with await asyncio.to_thread(tempfile.TemporaryFile) as kept, files.named(path):
            async for chunk in content:
                await asyncio.to_thread(kept.write, chunk)
            await self._ask("write_bytes()", lambda box: box.files.write(where, files.chunks(kept)))

    async def list_files(self, path: str) -> builtins.list[str]:
        # The SDK's listing leaves out what it knows no type for, dangling links for example.
        self._require(MachineState.RUNNING, "list_files()")
        return files.listed(await self.execute(files.listing(path), ExecuteOptions(max_output_bytes=None)), path)

    # --- what commands and the lease need of it ---------------------------------------------------------------

    async def sandbox(self) -> Any:
        """The SDK's object, once the machine runs. Raises MachineLost."""
        while self._state is MachineState.PAUSED:
            await self._runs.wait()
        if self._state is not MachineState.RUNNING:
            raise self._lost()
        if self._sandbox is None:
            await self._attach()
        return self._sandbox

    async def look(self, *, begun: bool) -> None:
        """Asks the service for the state. Raises MachineLost, and StateError for a paused one unless `begun`."""
        if await self.refresh() is MachineState.PAUSED and not begun:
            self._require(MachineState.RUNNING, "execute()")

    async def kill(self, request: Request) -> None:
        """Ends the command of a request with all its processes."""

        async def run(box: Any) -> Any:
            handle = await box.commands.run(request.kill(), background=True, timeout=0)
            return await handle.wait()

        await self._ask("the kill of a command", run)

    def take_done(self) -> builtins.list[str]:
        done, self._done = self._done, []
        return done

    def give_done(self, ids: builtins.list[str]) -> None:
        self._done += ids

    async def extend(self) -> float | None:
        """Another lease, within the sandbox's longest life; when to ask again. Raises MachineError."""
        left = self._started_at + self._options.max_lifetime - time.time()
        seconds = int(min(self._options.timeout, left))
        if self._state is not MachineState.RUNNING or seconds < 1:
            return None
        try:
            await self._service("the lease", "set_timeout", seconds)
        except MachineLost:
            return None
        return seconds / 2 if seconds == self._options.timeout else None

    # --- inside -------------------------------------------------------------------------------------------

    async def _create(self, sdk: Any, key: str, params: Mapping[str, Any]) -> Any:
        metadata = {**self._options.metadata, **self._labels, MARK: await host_name(), START: key}

        def create() -> Any:
            return sdk.AsyncSandbox.create(
                self._options.template,
                timeout=self._options.timeout,
                metadata=metadata,
                envs=dict(self._options.envs),
                idempotency_key=key,
                **self._options.creation,
                **params,
            )

        return await ask(f"a sandbox of template {self._options.template!r} could not be made", create)

    async def _undo(self, sdk: Any, key: str, params: Mapping[str, Any]) -> None:
        """Kills whatever sandbox a failed start has made all the same."""
        with suppress(MachineError, TimeoutError):
            async with asyncio.timeout(_UNDO_LIMIT_S):
                query = sdk.SandboxQuery(metadata={START: key})
                pages = sdk.AsyncSandbox.list(query=query, **params)
                for found in await ask("the listing of sandboxes", pages.next_items):
                    await ask("a kill", _killing(sdk, found.sandbox_id, params))

    async def _attach(self) -> None:
        sdk = await service.load()
        params = self._options.api_params()
        seconds = self._options.timeout
        sandbox = await ask(
            f"the connection to sandbox {self._id}",
            lambda: sdk.AsyncSandbox.connect(self._id, timeout=seconds, **params),
        )
        self._came_up(sandbox)

    def _came_up(self, sandbox: Any) -> None:
        self._sandbox, self._state = sandbox, MachineState.RUNNING
        self._runs.set()
        self._hold()

    def _hold(self) -> None:
        self._lease = Lease(self, self._options.timeout / 2)

    async def _let_go(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.end()

    def _ended(self) -> None:
        self._state = MachineState.STOPPED
        self._runs.set()

    async def _service(self, what: str, method: str, *arguments: Any) -> Any:
        """A call of the control plane about this sandbox."""
        sdk, params = await service.load(), self._options.api_params()
        call = getattr(sdk.AsyncSandbox, method)
        return await self._checked(what, lambda: call(self._id, *arguments, **params))

    async def _ask(self, what: str, call: Callable[[Any], Any]) -> Any:
        """A call that goes into the sandbox and may be repeated."""
        sandbox = await self.sandbox()
        return await self._checked(what, lambda: call(sandbox))

    async def _checked(self, what: str, call: Callable[[], Any]) -> Any:
        """What finds the sandbox not running asks why."""
        try:
            return await ask(f"{what} of machine {self._id}", call)
        except NotRunning:
            await self.refresh()
            self._require(MachineState.RUNNING, what)
            raise MachineUnreachable(f"{what}: machine {self._id} runs, but cannot be reached; try again") from None

    async def _sent(self, stdin: str | bytes | None) -> str:
        """The file in the machine that holds an input too large to travel with the command; else an empty name."""
        data = as_bytes(stdin)
        if len(data) <= INLINE_BYTES:
            return ""
        path = posixpath.join(await self.home(), f".gitmachine/in/{uuid.uuid4().hex}")
        await self.write_file(path, data)
        return path

    async def _absolute(self, path: str) -> str:
        return posixpath.join(await self.home(), path)

    def _require(self, wanted: MachineState, call: str) -> None:
        if self._state is wanted:
            return
        advice = {
            MachineState.IDLE: "start() it first",
            MachineState.RUNNING: "it is running already",
            MachineState.PAUSED: "resume() it first",
            MachineState.STOPPED: "make a new E2BMachine",
        }[self._state]
        raise StateError(f"{call} on machine {self._id}, which is {self._state}: {advice}")

    def _lost(self) -> MachineLost:
        return MachineLost(
            f"sandbox {self._id} has ended: its lease of {self._options.timeout} s ran out, or somebody killed it. The "
            "last checkpoint of its session is in the vault: GitMachine.reopen(session, machine=E2BMachine()) goes on"
        )


def _not_found(sandbox_id: str) -> MachineNotFound:
    return MachineNotFound(f"there is no sandbox {sandbox_id!r} at E2B, or its lease has run out")


def _killing(sdk: Any, sandbox_id: str, params: Mapping[str, Any]) -> Callable[[], Any]:
    return lambda: sdk.AsyncSandbox.kill(sandbox_id, **params)
