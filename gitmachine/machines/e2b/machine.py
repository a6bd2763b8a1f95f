"""E2BMachine: a sandbox of E2B's cloud, or of one's own, by the `e2b` SDK."""

from __future__ import annotations

import asyncio
import builtins
import os
import posixpath
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from gitmachine.errors import FileError, MachineError, MachineLost, MachineNotFound, StateError
from gitmachine.machine import Step
from gitmachine.machines.command import collect
from gitmachine.machines.e2b import files, leavings, service
from gitmachine.machines.e2b.command import SupervisedCommand
from gitmachine.machines.e2b.life import SandboxLife
from gitmachine.machines.e2b.options import MARK, Options
from gitmachine.machines.e2b.wire import INLINE_BYTES, Request, as_bytes
from gitmachine.types import Capabilities, ExecuteOptions, ExecutionResult, MachineState

_WHOLE_BYTES = 4 * 1024 * 1024
"""A file up to this size is sent in one piece, within the time that one request may take."""


class E2BMachine(SandboxLife):
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
        options = Options.checked(
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
        super().__init__(options)

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

    async def read_chunks(self, path: str) -> AsyncIterator[bytes]:
        """By way of a file on this host, so that it can be fetched again when a connection breaks."""
        self._require(MachineState.RUNNING, "read_chunks()")
        where = await self._absolute(path)
        with await asyncio.to_thread(tempfile.TemporaryFile) as kept:
            with files.named(path):
                await self._ask("read_chunks()", lambda box: files.fetched(box, where, kept))
            async for chunk in files.chunks(kept):
                yield chunk

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

    # --- what a command needs of it ------------------------------------------------------------------------

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

    # --- inside -------------------------------------------------------------------------------------------

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


def _not_found(sandbox_id: str) -> MachineNotFound:
    return MachineNotFound(f"there is no sandbox {sandbox_id!r} at E2B, or its lease has run out")
