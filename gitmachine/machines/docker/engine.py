"""Where the engine is, and one way of talking to it.

The client is aiodocker: asyncio all through, a release every few months, TCP with TLS, ssh and Docker's contexts, and
an upgraded connection that can be read and written at once, which the relay needs. Docker's own SDK is synchronous
(each held stream would be a thread), has no cancellation, and reads upgraded connections by reaching into its HTTP
library; plain HTTP over a unix socket would have left contexts, TLS and ssh for us to write.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitmachine import settings
from gitmachine.errors import (
    ConfigurationError,
    MachineError,
    MachineNotFound,
    MachineUnavailable,
    MissingExtra,
)

if TYPE_CHECKING:
    from aiodocker import Docker

_NOT_CONNECTED = 900
"""aiodocker's own number for an engine that it could not reach."""


class EngineError(MachineError):
    """The engine refused a request, or failed at it; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """A Docker engine, or Podman's service, at an address.

    host: `unix://`, `tcp://` (with TLS when DOCKER_TLS_VERIFY=1, by the certificates in DOCKER_CERT_PATH), `ssh://`, or
        the name of a Docker context. None: DOCKER_HOST, else Docker's current context, else the first socket of
        Docker or Podman that is there.
    """

    def __init__(self, host: str | None) -> None:
        self.host = host
        self._version = "auto"

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Docker]:
        """A client, closed at the end. What goes wrong inside comes out as one of ours.

        Raises MachineUnavailable when the engine does not answer, MachineNotFound, EngineError, MissingExtra.
        """
        aiodocker = _library()
        import aiohttp

        try:
            async with self._made(aiodocker) as docker:
                docker.api_version = self._version
                yield docker
                self._version = docker.api_version  # agreed on by the first request
        except aiodocker.DockerError as error:
            raise self.translated(error) from error
        except aiohttp.ClientError as error:
            raise EngineError(f"the connection to the engine at {self.address} broke: {error}", 0) from error
        except _ssh_errors() as error:
            raise MachineUnavailable(f"the engine at {self.address} is out of reach: {error}") from error

    @property
    def address(self) -> str:
        """For messages."""
        return self.host or settings.engine_host() or "the default address"

    def translated(self, error: Any) -> MachineError:
        """What aiodocker raised, in our words."""
        text = str(error.message).strip()
        if error.status == _NOT_CONNECTED:
            return MachineUnavailable(
                f"no engine answers at {self.address}: start Docker or Podman's service, or name another with host= or "
                f"DOCKER_HOST ({text})"
            )
        if error.status == 404:
            return MachineNotFound(f"the engine at {self.address} says: {text}")
        return EngineError(f"the engine at {self.address} says: {text}", error.status)

    def _made(self, aiodocker: Any) -> Docker:
        try:
            url, context = self._where()
            docker: Docker = aiodocker.Docker(url=url, context=context)
        except (ValueError, aiodocker.exceptions.DockerContextError) as error:
            raise ConfigurationError(f"the engine's address {self.address!r} cannot be used: {error}") from error
        return docker

    def _where(self) -> tuple[str | None, str | None]:
        """Its URL or its context. aiodocker's own order is not the command line's: it asks the context first."""
        host = self.host or settings.engine_host()
        if host is not None:
            return (host, None) if "://" in host else (None, host)
        from aiodocker.docker import Docker

        if Docker._get_docker_context_endpoint() is not None:
            return None, None
        for path in settings.engine_sockets():
            if path.is_socket():
                return f"unix://{path}", None
        raise MachineUnavailable(
            "no engine was found: install Docker or Podman and start its service, or name one with host= or DOCKER_HOST"
        )


async def missing_limits(docker: Docker) -> frozenset[str]:
    """The limits that this engine's host has no means to keep (Engine API, SystemInfo)."""
    info = await docker.system.info()
    asked = {"memory": "MemoryLimit", "processes": "PidsLimit", "cpus": "CpuCfsQuota"}
    return frozenset(limit for limit, flag in asked.items() if info.get(flag) is False)


async def summary(engine: Engine) -> str:
    """One line about an engine and what it can bound. Raises as `client` does."""
    async with engine.client() as docker:
        version = await docker.version()
        missing = await missing_limits(docker)
    kept = ", ".join(limit for limit in ("memory", "processes", "cpus") if limit not in missing) or "nothing"
    return f"{engine.address}: version {version.get('Version', 'unknown')}; it can bound {kept}"


def sockets() -> list[Path]:
    """Where engines listen on this host, present or not: none of these may ever be seen in a machine."""
    return [*settings.engine_sockets(), Path("/run/containerd/containerd.sock"), Path("/run/crio/crio.sock")]


def _library() -> Any:
    try:
        import aiodocker
    except ImportError as error:
        raise MissingExtra("DockerMachine needs aiodocker: pip install 'gitmachine-sdk[docker]'") from error
    return aiodocker


def _ssh_errors() -> tuple[type[Exception], ...]:
    """What the ssh transport raises past aiodocker, when it is in use."""
    asyncssh = sys.modules.get("asyncssh")
    return (asyncssh.Error,) if asyncssh else ()
