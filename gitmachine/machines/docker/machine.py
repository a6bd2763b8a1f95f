"""DockerMachine: a container, with the agent of local machines as its first process."""

from __future__ import annotations

import builtins
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

from gitmachine.errors import (
    FileError,
    MachineError,
    MachineLost,
    MachineNotFound,
    MachineUnavailable,
    StateError,
)
from gitmachine.machine import Machine
from gitmachine.machines.command import to_its_end
from gitmachine.machines.docker import gateway, making
from gitmachine.machines.docker import wishes as asking
from gitmachine.machines.docker.engine import Engine, EngineError, missing_limits
from gitmachine.machines.docker.exec_place import ExecPlace
from gitmachine.machines.docker.gateway import ContainerGateway, directory_of
from gitmachine.machines.docker.holding import Holding
from gitmachine.machines.docker.images import PullCallback
from gitmachine.machines.docker.line import Line, held_line
from gitmachine.machines.docker.making import Wish, environment_of
from gitmachine.machines.docker.place import ContainerPlace
from gitmachine.machines.docker.plan import HOME, LABEL, RELAY_COMMAND, RELAY_USER, Held, Mount, check_mounts
from gitmachine.machines.docker.watching import Watch, held_watch, state_of
from gitmachine.machines.local.gateway import refusals
from gitmachine.machines.local.limits import Limits
from gitmachine.machines.local.sandbox import base_environment
from gitmachine.types import Capabilities, ExecuteOptions, ExecutionResult, MachineState, Refusal, Wishes

log = logging.getLogger(__name__)

DEFAULT_IMAGE = "python:3.13"
"""Docker's own image with git, a compiler and python3."""
_NETWORKS = {"none": "none", "bridge": "unrestricted", "host": "host"}
_LOGS = 4000
_LIVE = (MachineState.RUNNING, MachineState.PAUSED)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class DockerMachine(Machine):
    """A container on a Docker engine, or on Podman's service. It outlives this object and this program.

    image: any with a shell and git. With python3 (3.9 or later) too a command costs a fraction of `docker exec`.
    host: an engine's `unix://`, `tcp://` or `ssh://` address, or the name of a Docker context; see `Engine`.
    memory: bytes, or as Docker writes them: "2g". cpus, pids: as in `docker run`. They take the place of those of
        `limits`, which has bounds on the rest; see `Limits`.
    network: None for loopback only; a list of allowed hosts, such as ["pypi.org", "*.example.org"], which are reached
        through a proxy outside the machine, on this host (`gitmachine.network.policy` says what an entry may be);
        "bridge" for the engine's default network, "host" for its host's own.
    mounts: of the engine's host: `Mount`, or "/source:/target", read-only, or "/source:/target:rw". A place that holds
        an engine's socket is refused.
    user: a number, `uid:gid`, or a name that the image knows; an ordinary user by default.
    envs: added to every command's environment; whoever may talk to the engine can read them there.
    read_only: the image's system cannot be written; the home directory and /tmp can.
    pull: "missing", "always" or "never"; `on_pull` is told of its progress.

    No capabilities, no new privileges, no engine's socket, whatever is given. Raises ConfigurationError, MissingExtra.
    """

    def __init__(
        self,
        image: str = DEFAULT_IMAGE,
        *,
        host: str | None = None,
        memory: int | str | None = None,
        cpus: float | None = None,
        pids: int | None = None,
        network: str | Sequence[str] | None = None,
        mounts: Sequence[Mount | str] = (),
        user: str = "1000:1000",
        envs: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        read_only: bool = False,
        pull: Literal["missing", "always", "never"] = "missing",
        on_pull: PullCallback | None = None,
    ) -> None:
        self._engine = Engine(host)
        mode, allowed = asking.network_of(network)
        self._wish = Wish(
            image=image,
            network=mode,
            allowed=allowed,
            limits=asking.limits_of(limits, memory, cpus, pids),
            user=user,
            read_only=read_only,
            envs=dict(envs or {}),
            mounts=asking.mounts_of(mounts),
            labels=dict(labels or {}),
            pull=pull,
            on_pull=on_pull,
        )
        check_mounts(self._wish.mounts, self._engine.address)
        self._id: str | None = None
        self._held: Held | None = None
        self._environment: dict[str, str] = {}
        self._state = MachineState.IDLE
        self._stopped = False
        self._line: Holding[Line] = Holding(self._opened_line)
        self._watch: Holding[Watch] = Holding(self._opened_watch)
        self._gateway: ContainerGateway | None = None
        self._missing_limits: frozenset[str] = frozenset()

    @classmethod
    async def connect(cls, machine_id: str, *, host: str | None = None) -> Self:
        """A live machine, whichever program started it. Raises MachineNotFound, MachineLost, MachineUnavailable."""
        machine = await cls._found(machine_id, host)
        if machine.state not in _LIVE:
            raise machine._lost()
        await machine._watch.get()
        return machine

    @classmethod
    async def remains(cls, machine_id: str, *, host: str | None = None) -> Self:
        """A machine alive or ended. One that ended without `stop()`, by a reboot for instance, is started again.

        Its files are as they were, its processes are gone. Raises MachineNotFound, MachineError.
        """
        machine = await cls._found(machine_id, host)
        if machine.state not in _LIVE:
            await machine._revive()
        await machine._watch.get()
        return machine

    @classmethod
    async def list(cls, *, host: str | None = None) -> builtins.list[str]:
        """The ids of the machines on an engine that run or are paused, the oldest first."""
        filters = {"label": [LABEL], "status": ["running", "paused"]}
        async with Engine(host).client() as docker:
            found = await docker.containers.list(filters=json.dumps(filters))
        names = [(one["Created"], str(one["Names"][0]).lstrip("/")) for one in found]
        return [f"{name}@{host}" if host else name for _, name in sorted(names)]

    # --- life ---------------------------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        """From `start()` on: the container's name, and after an `@` the engine's host where one was given."""
        return self._id and (f"{self._id}@{self._engine.host}" if self._engine.host else self._id)

    @property
    def state(self) -> MachineState:
        """As the engine last told it, which it does at once when another program pauses or ends the machine."""
        return self._state

    @property
    def capabilities(self) -> Capabilities:
        by_engine = {"memory": "cgroup", "processes": "cgroup", "cpus": "cgroup"}
        said = self._wish.limits.described(by_engine)
        if self._held is not None and self._held.reach == "exec":
            said = {name: text for name, text in said.items() if name not in making.BY_AGENT.values()}
        return Capabilities(
            pause_keeps_memory=True,
            shares_host_kernel=True,
            isolation="container",
            network=_NETWORKS[self._wish.network] if self._wish.allowed is None else "allow-list",
            allowed_hosts=self._wish.allowed or (),
            reconnect=True,
            limits={name: text for name, text in said.items() if name not in self._missing_limits},
            freezer="engine",
        )

    async def start(self) -> None:
        """Brings the container up, with its image when that is missing. Raises MachineUnavailable, StateError."""
        if self._state is not MachineState.IDLE or self._id is not None:
            raise StateError(f"machine {self._id} was started before: use it, or make a new DockerMachine")
        name = f"gitmachine-{secrets.token_hex(6)}"
        try:
            await self._make(name)
        except BaseException:
            if self._id is not None:
                await to_its_end(self._discard(name))
            raise

    async def pause(self) -> None:
        """Freezes every process of the machine; memory is kept. Raises StateError, MachineError."""
        self._require(MachineState.RUNNING, "pause()")
        async with self._container("pause()", MachineState.RUNNING) as container:
            await container.pause()
        self._state = MachineState.PAUSED

    async def resume(self) -> None:
        """Lets a paused machine go on. Raises StateError, MachineError."""
        self._require(MachineState.PAUSED, "resume()")
        async with self._container("resume()", MachineState.PAUSED) as container:
            await container.unpause()
        self._state = MachineState.RUNNING

    async def stop(self) -> None:
        """Ends every process and removes the container with its files. Raises MachineError."""
        if self._id is not None:
            await to_its_end(self._remove(self._id))
        self._state, self._stopped = MachineState.STOPPED, True

    async def adapt(self, wishes: Wishes) -> dict[str, str]:
        """All of it, by making the container anew: nothing has run in it yet. Raises as `start` does."""
        self._require(MachineState.RUNNING, "adapt()")
        wish, left = asking.adapted(self._wish, wishes)
        if wish != self._wish:
            await self._remove(str(self._id))
            self._wish, self._id, self._held, self._state = wish, None, None, MachineState.IDLE
            await self.start()
        return left

    async def network_refusals(self, after: int = 0) -> tuple[builtins.list[Refusal], int]:
        """Those of this host's proxy, which serves the machine while this host uses it."""
        if self._wish.allowed is None or self._id is None:
            return [], after
        return await refusals(directory_of(self._id), after)

    async def aclose(self) -> None:
        await self._line.close()
        await self._watch.close()

    def another(self) -> DockerMachine:
        """A new machine with the same image, limits, network, mounts and environment."""
        machine = type(self)(self._wish.image, host=self._engine.host)
        machine._wish = self._wish
        return machine

    # --- commands and files -------------------------------------------------------------------------------

    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        """Runs `command` in a shell of the machine, in a session of its own, and waits for its end.

        Raises StateError, MachineLost, FileNotFoundError for a `cwd` that is not there, ConfigurationError.
        """
        place = self._place("execute()")
        await self._open_gateway()
        return await place.execute(command, options or ExecuteOptions())

    async def home(self) -> str:
        return HOME

    async def read_file(self, path: str) -> str:
        data = await self.read_bytes(path)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FileError(f"{path!r} in the machine is not UTF-8 text ({error}); use read_bytes()") from error

    async def read_bytes(self, path: str) -> bytes:
        return await self._place("read_bytes()").read_bytes(path)

    async def write_file(self, path: str, content: str | bytes) -> None:
        await self.write_bytes(path, content.encode() if isinstance(content, str) else content)

    async def write_bytes(self, path: str, content: bytes | AsyncIterator[bytes]) -> None:
        await self._place("write_bytes()").write_bytes(path, content)

    async def list_files(self, path: str) -> builtins.list[str]:
        return await self._place("list_files()").list_files(path)

    async def make_dir(self, path: str) -> None:
        await self._place("make_dir()").make_dir(path)

    async def remove(self, path: str) -> None:
        await self._place("remove()").remove(path)

    async def exists(self, path: str) -> bool:
        return await self._place("exists()").exists(path)

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """All processes there are now are stopped until the end, where there is an agent in the machine."""
        if self._state is MachineState.PAUSED:
            yield
            return
        async with self._place("quiet()").quiet():
            yield

    # --- inside -------------------------------------------------------------------------------------------

    async def _make(self, name: str) -> None:
        try:
            async with self._engine.client() as docker:
                self._missing_limits = await missing_limits(docker)
                self._id = name  # from here on there may be something to remove
                self._held = await making.make(docker, self._wish, name)
                self._environment = environment_of(await docker.containers.container(name).show())
        except EngineError as error:
            raise MachineUnavailable(f"no machine could be made of image {self._wish.image!r}: {error}") from error
        await self._watch.get()
        self._state = MachineState.RUNNING
        if self._held.reach == "agent":
            await self._first_line(name)
        await self._open_gateway()

    async def _open_gateway(self) -> None:
        """Where there are allowed hosts: the proxy is there when this returns."""
        if self._held is None or self._held.allowed is None:
            return
        if self._gateway is None:
            self._gateway = ContainerGateway(self._engine.host, str(self._id), self._held)
        await self._gateway.ensure()

    async def _first_line(self, name: str) -> None:
        try:
            await self._line.get()
        except MachineError as error:
            async with self._engine.client() as docker:
                said = "".join(await docker.containers.container(name).log(stdout=True, stderr=True))[-_LOGS:]
            raise MachineUnavailable(
                f"the agent did not start in image {self._wish.image!r}, whose python3 should be 3.9 or later: "
                f"{said.strip() or error}"
            ) from error

    async def _discard(self, name: str) -> None:
        """After a start that failed: nothing is left, and it can be tried again."""
        await self.aclose()
        try:
            async with self._engine.client() as docker:
                await making.remove(docker, name)
            await gateway.discard(name)
        except MachineError:
            log.warning("container %s may be left on the engine: it could not be removed", name)
        self._id, self._held, self._gateway, self._state = None, None, None, MachineState.IDLE

    async def _remove(self, name: str) -> None:
        await self.aclose()
        async with self._engine.client() as docker:
            await making.remove(docker, name)
        await gateway.discard(name)
        self._gateway = None

    @classmethod
    async def _found(cls, machine_id: str, host: str | None) -> Self:
        name, _, given = machine_id.partition("@")
        machine = cls(host=host or given or None)
        if not _NAME.fullmatch(name):
            raise MachineNotFound(f"no machine {machine_id!r}; DockerMachine.list() names those there are")
        async with machine._engine.client() as docker:
            inspected = await docker.containers.container(name).show()
            machine._missing_limits = await missing_limits(docker)
        label = (inspected["Config"].get("Labels") or {}).get(LABEL)
        if label is None:
            raise MachineNotFound(f"container {machine_id!r} is no machine of ours; DockerMachine.list() names them")
        machine._adopt(name, Held.model_validate_json(label), inspected)
        return machine

    def _adopt(self, name: str, held: Held, inspected: dict[str, Any]) -> None:
        self._id, self._held, self._state = name, held, state_of(inspected)
        self._environment = environment_of(inspected)
        self._wish = making.wish_of(held, self._environment, inspected)

    async def _revive(self) -> None:
        assert self._id is not None
        assert self._held is not None
        async with self._engine.client() as docker:
            container = docker.containers.container(self._id)
            await making.fill(container, self._wish.plan(self._id, (self._held.uid, self._held.gid), self._held.reach))
            await container.start()
        self._state = MachineState.RUNNING

    @asynccontextmanager
    async def _container(self, call: str, wanted: MachineState) -> AsyncIterator[Any]:
        """The container for one request; when the engine refuses because of its state, that is what is said."""
        try:
            async with self._engine.client() as docker:
                yield docker.containers.container(str(self._id))
        except (EngineError, MachineNotFound):
            await self._look()
            self._require(wanted, call)
            raise

    async def _look(self) -> None:
        try:
            async with self._engine.client() as docker:
                self._state = state_of(await docker.containers.container(str(self._id)).show())
        except MachineNotFound:
            self._state = MachineState.STOPPED

    @asynccontextmanager
    async def _opened_line(self) -> AsyncIterator[Line]:
        assert self._held is not None
        user = f"{RELAY_USER}:{self._held.gid}"
        async with (
            self._container("execute()", MachineState.RUNNING) as container,
            held_line(container, RELAY_COMMAND, user) as line,
        ):
            yield line

    @asynccontextmanager
    async def _opened_watch(self) -> AsyncIterator[Watch]:
        async with held_watch(self._engine, str(self._id), self._changed) as watch:
            yield watch

    def _changed(self, state: MachineState) -> None:
        if not self._stopped:
            self._state = state

    def _place(self, call: str) -> ContainerPlace | ExecPlace:
        self._require(MachineState.RUNNING, call)
        assert self._held is not None
        environment = {**base_environment(HOME), **self._environment}
        if self._held.reach == "exec":
            return ExecPlace(lambda: self._container(call, MachineState.RUNNING), environment, HOME)
        return ContainerPlace(self._line.get, environment, HOME)

    def _require(self, wanted: MachineState, call: str) -> None:
        if self._state is wanted:
            return
        match self._state:
            case MachineState.IDLE:
                raise StateError(f"{call} needs a {wanted} machine: call start() first")
            case MachineState.PAUSED:
                raise StateError(f"{call} needs a running machine and {self._id} is paused: call resume() first")
            case MachineState.RUNNING:
                raise StateError(f"{call} needs a {wanted} machine and {self._id} is running: call pause() first")
        if self._stopped:
            raise StateError(f"{call}: machine {self._id} is stopped; make a new DockerMachine and start() it")
        raise self._lost()

    def _lost(self) -> MachineLost:
        return MachineLost(
            f"machine {self._id} has ended without stop(); unless the container was removed its files are still in it, "
            "and DockerMachine.remains() starts it again"
        )
