"""The life of a sandbox: made, leased, paused, resumed, looked at and ended."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from gitmachine.errors import MachineError, MachineLost, MachineUnavailable, MachineUnreachable, StateError
from gitmachine.machine import Machine
from gitmachine.machines.e2b import service
from gitmachine.machines.e2b.command import SupervisedCommand
from gitmachine.machines.e2b.host import host_name
from gitmachine.machines.e2b.lease import Lease
from gitmachine.machines.e2b.options import MARK, START, Options
from gitmachine.machines.e2b.service import NotRunning, ask
from gitmachine.types import MachineState

_UNDO_LIMIT_S = 30.0
_SETTLE_S = 0.3
"""Between letting go of streams and a pause: without it their output can be stuck after the resume (infra#3292)."""
_STATES = {"running": MachineState.RUNNING, "paused": MachineState.PAUSED}


class SandboxLife(Machine):
    """A machine as far as its life goes. What runs in it is `E2BMachine`'s."""

    def __init__(self, options: Options) -> None:
        self._options = options
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

    # --- life ---------------------------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        return self._id

    @property
    def state(self) -> MachineState:
        """As the service said it last: see `refresh()`."""
        return self._state

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
        state = _STATES[str(getattr(info.state, "value", info.state))]
        if state is MachineState.PAUSED:
            self._runs.clear()
        self._state = state
        return state

    async def get_info(self) -> Any:
        """The SDK's SandboxInfo: template, metadata, times, state, resources."""
        if self._id is None:
            raise StateError("there is no sandbox yet: start() the machine first")
        sdk, params = await service.load(), self._options.api_params()
        return await ask(f"get_info() of {self._id}", lambda: sdk.AsyncSandbox.get_info(self._id, **params))

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


def _killing(sdk: Any, sandbox_id: str, params: Mapping[str, Any]) -> Callable[[], Any]:
    return lambda: sdk.AsyncSandbox.kill(sandbox_id, **params)
