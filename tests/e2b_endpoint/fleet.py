"""All sandboxes of an endpoint: their leases, their states, their ends.

Sources: e2b-dev/infra `packages/api/internal/handlers/sandbox_{connect,pause,timeout,kill}.go`, the recorded facts on
the SDK 2.63, and the SDK's generated models, which every answer is made of.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress

from e2b.api.client import models
from e2b.api.client.types import Unset

from tests.e2b_endpoint.box import Box, GuestGone
from tests.e2b_endpoint.clock import Clock
from tests.e2b_endpoint.envd import Guest
from tests.e2b_endpoint.sandbox import Sandbox

MAX_LENGTH_S = 24 * 3600
"""What an account of the plan Pro may have, counted from the start of the running instance."""
_BOOTS_AT_ONCE = 8
_ID_BYTES = 10


class Refused(Exception):
    """What the control plane answers."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def not_found(sandbox_id: str) -> Refused:
    return Refused(404, f"Sandbox '{sandbox_id}' doesn't exist or you don't have access to it")


def _seconds(timeout: int | Unset) -> float:
    """What is asked for, or the default of the service."""
    return 300.0 if isinstance(timeout, Unset) else float(timeout)


class Fleet:
    """Belongs to the event loop that it was made on."""

    def __init__(self, cut: Callable[[str], None]) -> None:
        self.clock = Clock()
        self.sandboxes: dict[str, Sandbox] = {}
        self.created = 0
        self.templates = {"base"}
        self.max_length_s = float(MAX_LENGTH_S)
        self._cut = cut
        self._boots = asyncio.Semaphore(_BOOTS_AT_ONCE)
        self._idempotent: dict[str, asyncio.Task[Sandbox]] = {}
        self._closing = False

    def find(self, sandbox_id: str) -> Sandbox:
        """Raises Refused."""
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None:
            raise not_found(sandbox_id)
        return sandbox

    async def create(self, request: models.NewSandboxV2, idempotency_key: str | None) -> Sandbox:
        """The same key gives the same sandbox, while it lives. Raises Refused."""
        if request.template_id not in self.templates:
            raise Refused(404, f"template '{request.template_id}' not found")
        timeout = _seconds(request.timeout)
        self._check_timeout(timeout)
        if idempotency_key is None:
            return await self._boot(request, timeout)
        known = self._idempotent.get(idempotency_key)
        if known is None or (known.done() and (known.exception() is not None or known.result().gone)):
            known = self._idempotent[idempotency_key] = asyncio.create_task(self._boot(request, timeout))
        return await asyncio.shield(known)

    async def connect(self, sandbox_id: str, timeout: float, *, reboot: bool) -> tuple[Sandbox, bool]:
        """The sandbox, and whether it had to be resumed. A lease is only ever extended. Raises Refused."""
        if timeout > self.max_length_s:
            raise self._too_long()
        sandbox = self.find(sandbox_id)
        async with sandbox.busy:
            self._check_lives(sandbox)
            if not sandbox.paused:
                self._lease(sandbox, max(sandbox.end_at, self.clock.now() + timeout))
                return sandbox, False
            await self._resume(sandbox, timeout, reboot=reboot)
            return sandbox, True

    async def wake(self, sandbox_id: str) -> Sandbox | None:
        """What a request at the edge finds: a sandbox that runs, resumed if it may be resumed by a request.

        The lease is then the one that it was made with, and at least five minutes (E2B's documentation of auto-resume).
        """
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.paused:
            return sandbox
        wanted = sandbox.request.auto_resume
        if isinstance(wanted, Unset) or not wanted.enabled or sandbox.pause_mode is models.SandboxPauseMode.FILESYSTEM:
            return None
        async with sandbox.busy:
            if sandbox.gone:
                return None
            if sandbox.paused:
                await self._resume(sandbox, max(300.0, _seconds(sandbox.request.timeout)), reboot=False)
        return sandbox

    async def pause(self, sandbox_id: str, *, memory: bool) -> None:
        """Everything in it stops, and every connection to it is cut. Raises Refused."""
        sandbox = self.find(sandbox_id)
        async with sandbox.busy:
            self._check_lives(sandbox)
            if sandbox.paused:
                raise Refused(409, f"Error pausing sandbox - sandbox '{sandbox_id}' is already paused")
            await self._freeze(sandbox, memory=memory)

    def set_timeout(self, sandbox_id: str, timeout: float) -> None:
        """From now, shorter too; not for a sandbox that is paused. Raises Refused."""
        sandbox = self.find(sandbox_id)
        if sandbox.paused:
            raise not_found(sandbox_id)
        self._lease(sandbox, self.clock.now() + max(0.0, timeout))

    async def kill(self, sandbox_id: str) -> None:
        """Running or paused. Raises Refused."""
        sandbox = self.find(sandbox_id)
        async with sandbox.busy:
            self._check_lives(sandbox)
            await self._end(sandbox)

    async def expire(self, sandbox_id: str) -> None:
        """What the end of the lease does: a pause if that was asked for at its creation, else the end.

        Raises Refused.
        """
        await self._expire(self.find(sandbox_id))

    async def expire_due(self) -> None:
        """Ends the leases that are over."""
        now = self.clock.now()
        due = [sandbox for sandbox in self.sandboxes.values() if not sandbox.paused and sandbox.end_at <= now]
        await asyncio.gather(*(self._expire(sandbox) for sandbox in due))

    async def watch_leases(self) -> None:
        """Until it is cancelled."""
        while True:
            self.clock.changed.clear()
            await self.expire_due()
            now = self.clock.now()
            ends = (sandbox.end_at for sandbox in self.sandboxes.values() if not sandbox.paused)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(ends, default=now + 3600) - now)):
                    await self.clock.changed.wait()

    async def close(self) -> None:
        """Ends every sandbox, also those that are being made."""
        self._closing = True
        await asyncio.gather(*(task for task in self._idempotent.values()), return_exceptions=True)
        await asyncio.gather(*(self._end(sandbox) for sandbox in list(self.sandboxes.values())))

    async def _boot(self, request: models.NewSandboxV2, timeout: float) -> Sandbox:
        async with self._boots:
            box = await Box.boot()
        if self._closing:
            await box.end()
            raise Refused(503, "the endpoint is closing")
        now = self.clock.now()
        sandbox_id = "i" + secrets.token_hex(_ID_BYTES)
        environment = {
            "E2B_SANDBOX": "true",
            "E2B_SANDBOX_ID": sandbox_id,
            "E2B_TEMPLATE_ID": request.template_id,
            **(dict(request.env_vars) if request.env_vars else {}),
        }
        sandbox = Sandbox(sandbox_id, request, box, Guest(box, environment), now, now + timeout)
        self.sandboxes[sandbox_id] = sandbox
        self.created += 1
        self.clock.changed.set()
        return sandbox

    async def _resume(self, sandbox: Sandbox, timeout: float, *, reboot: bool) -> None:
        if reboot or sandbox.pause_mode is models.SandboxPauseMode.FILESYSTEM:
            await sandbox.box.ask("reboot")
        await sandbox.box.ask("thaw")
        sandbox.guest.clock.go_on()
        sandbox.paused = False
        sandbox.started_at = self.clock.now()
        self._lease(sandbox, self.clock.now() + timeout)

    async def _expire(self, sandbox: Sandbox) -> None:
        async with sandbox.busy:
            if sandbox.gone or sandbox.paused:
                return
            try:
                if sandbox.request.auto_pause is True:
                    await self._freeze(sandbox, memory=sandbox.request.auto_pause_memory is not False)
                    return
            except GuestGone:
                pass  # it had ended by itself; so its record ends too
            await self._end(sandbox)

    async def _freeze(self, sandbox: Sandbox, *, memory: bool) -> None:
        await sandbox.box.ask("freeze")
        sandbox.guest.clock.stop()
        sandbox.paused = True
        sandbox.pause_mode = models.SandboxPauseMode.FULL if memory else models.SandboxPauseMode.FILESYSTEM
        sandbox.end_at = self.clock.now()
        self._cut(sandbox.id)

    async def _end(self, sandbox: Sandbox) -> None:
        sandbox.gone = True
        self.sandboxes.pop(sandbox.id, None)
        self._cut(sandbox.id)
        await sandbox.guest.processes.close()
        await sandbox.box.end()

    def _lease(self, sandbox: Sandbox, end_at: float) -> None:
        sandbox.end_at = min(end_at, sandbox.started_at + self.max_length_s)
        self.clock.changed.set()

    def _check_lives(self, sandbox: Sandbox) -> None:
        if sandbox.gone:
            raise not_found(sandbox.id)

    def _check_timeout(self, timeout: float) -> None:
        if timeout <= 0:
            raise Refused(400, "Timeout must be greater than 0")
        if timeout > self.max_length_s:
            raise self._too_long()

    def _too_long(self) -> Refused:
        return Refused(400, f"Timeout cannot be greater than {self.max_length_s / 3600:g} hours")
