"""A container's way to its allowed hosts: it has no network, and the proxy is reached through a relay (see serving.py).

The proxy's record and journal are in a directory of this host's own state, since a container's engine may be elsewhere.
Two hosts that use one machine have a proxy each, with the same list, and each is told of what its own refused.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import suppress
from pathlib import Path

from gitmachine import settings
from gitmachine.errors import MachineError
from gitmachine.machines.docker.plan import RELAY_USER, Held
from gitmachine.machines.local import gateway
from gitmachine.machines.local.user import machine_user, make_reachable
from gitmachine.network import launching

_KEPT_S = 86400.0


def directory_of(name: str) -> Path:
    """Where this host keeps what it knows of a container's proxy."""
    return settings.load().gateways / name


class ContainerGateway(gateway.Gateway):
    """The proxy of one container."""

    def __init__(self, host: str | None, name: str, held: Held) -> None:
        super().__init__(directory_of(name))
        self._host = host
        self._name = name
        self._held = held

    async def ensure(self) -> None:
        await asyncio.to_thread(_make, self._directory)
        await super().ensure()

    async def _plan(self) -> launching.Plan:
        user = machine_user()
        return launching.Plan(
            directory=self._directory,
            main="gitmachine.machines.docker.serving",
            settings={"host": self._host, "container": self._name, "relay": f"{RELAY_USER}:{self._held.gid}"},
            allowed=self._held.allowed or (),
            user=(user.uid, user.gid) if user.switch else None,
            environment=settings.engine_environment(),
            packages=True,
        )


async def discard(name: str) -> None:
    """Ends a container's proxy and removes what was kept of it. Raises MachineError."""
    directory = directory_of(name)
    await gateway.end(directory)
    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


def _make(directory: Path) -> None:
    if directory.is_dir():
        return
    state = directory.parent.parent
    make_reachable(state, machine_user())
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_old(directory.parent)


def _remove_old(gateways: Path) -> None:
    """Of containers that somebody else removed, whose proxies have ended with them."""
    for path in gateways.iterdir():
        with suppress(OSError, MachineError):
            if time.time() - path.stat().st_mtime > _KEPT_S and gateway.live(path) is None:
                shutil.rmtree(path)
