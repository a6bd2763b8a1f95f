"""LocalMachine: a held bubblewrap sandbox on this host's kernel, with an exec agent as its first process."""

from __future__ import annotations

import asyncio
import builtins
import posixpath
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from gitmachine.errors import (
    ConfigurationError,
    FileError,
    GitMachineError,
    MachineError,
    MachineLost,
    MachineNotFound,
    StateError,
)
from gitmachine.locks import FileLock
from gitmachine.machine import Machine, Observer
from gitmachine.machines.local import adapting, cgroup, freezer, gateway, objects, observer, proc, sandbox
from gitmachine.machines.local.cgroup import Counters, Groups
from gitmachine.machines.local.client import Address, ask
from gitmachine.machines.local.gateway import LocalGateway
from gitmachine.machines.local.layout import RECORD, Layout, remove_tree
from gitmachine.machines.local.limits import Limits
from gitmachine.machines.local.place import SandboxPlace
from gitmachine.machines.local.probe import unavailable
from gitmachine.machines.local.record import InitRecord, MachineRecord, Network
from gitmachine.machines.local.sandbox import Bind, Init, Plan
from gitmachine.machines.local.spares import Spares
from gitmachine.machines.local.user import machine_user
from gitmachine.network.policy import AllowList
from gitmachine.settings import Settings, load
from gitmachine.together import both
from gitmachine.types import Capabilities, ExecuteOptions, ExecutionResult, MachineState, Refusal, Wishes

_LIFECYCLE_LIMIT_S = 60.0
_READY_LIMIT_S = 20.0


class LocalMachine(Machine):
    """A machine on this host, behind namespaces, a system call filter and a read-only root.

    It sees the host's /usr, a few files of /etc, its own home and a /tmp in memory; commands run in /bin/bash
    where there is one, else in /bin/sh. It outlives this object and this program: `connect(id)` finds it again.

    network: None for loopback only; a list of allowed hosts, such as ["pypi.org", "*.example.org", "10.0.0.7:443"],
        which are reached through a proxy outside the machine (`gitmachine.network.policy` says what an entry may
        be); "host" for the host's own network, and that includes whatever listens on the host's loopback.
    limits: see `Limits`; a default bounds memory, processes and /tmp.
    env: added to every command's environment; kept in the machine's record on the host.
    state_dir: in place of the one that `GITMACHINE_HOME` names.

    Raises ConfigurationError.
    """

    def __init__(
        self,
        *,
        network: str | Sequence[str] | None = None,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        isolation: str = "bubblewrap",
        rootfs: Path | str | None = None,
        state_dir: Path | str | None = None,
    ) -> None:
        self._network = _network(network)
        if isolation != "bubblewrap":
            raise ConfigurationError(f"isolation={isolation!r} is not available; the one there is: 'bubblewrap'")
        if rootfs is not None:
            raise ConfigurationError("rootfs is not available: a local machine uses the host's /usr; leave it out")
        self._limits = limits or Limits()
        self._env = dict(env or {})
        self._settings = load() if state_dir is None else Settings(Path(state_dir).expanduser().absolute())
        self._user = machine_user()
        self._layout: Layout | None = None
        self._record: MachineRecord | None = None
        self._gateway: LocalGateway | None = None
        self._counters: Counters | None = None
        self._observed: observer.LocalObserver | None = None
        self._stopped = False
        self._making = asyncio.Lock()

    @classmethod
    async def connect(cls, machine_id: str, *, state_dir: Path | str | None = None) -> Self:
        """A live machine, whichever program started it. Raises MachineNotFound, MachineLost."""
        machine = await cls.remains(machine_id, state_dir=state_dir)
        if machine.state is MachineState.STOPPED:
            raise machine._lost()
        return machine

    @classmethod
    async def remains(cls, machine_id: str, *, state_dir: Path | str | None = None) -> Self:
        """A machine alive or dead, by what is on the disk. Raises MachineNotFound.

        One that ended without `stop()`, by a reboot for instance, is `stopped`; `observer()` still reads its
        files, and `stop()` removes them.
        """
        machine = cls(state_dir=state_dir)
        layout = Layout.of(machine._settings, machine_id)
        try:
            if "/" in machine_id or machine_id.startswith("."):
                raise FileNotFoundError(machine_id)
            record = await asyncio.to_thread(MachineRecord.load, layout.record)
        except FileNotFoundError:
            raise MachineNotFound(
                f"no machine {machine_id!r} in {machine._settings.machines}; LocalMachine.list() names those there are"
            ) from None
        machine._layout, machine._record = layout, record
        machine._network, machine._limits, machine._env = record.network, record.limits, record.env
        return machine

    @classmethod
    async def list(cls, *, state_dir: Path | str | None = None) -> builtins.list[str]:
        """The ids of live machines, the oldest first."""
        return await asyncio.to_thread(_live_ids, cls(state_dir=state_dir)._settings.machines)

    # --- life ---------------------------------------------------------------------------------------------

    @property
    def id(self) -> str | None:
        """Set from `start()` on, or from the first `share_objects` or `claim_spare` before it."""
        return self._layout.directory.name if self._layout else None

    @property
    def state(self) -> MachineState:
        """Read from the kernel each time; so it is right also when another program pauses or ends the machine."""
        if self._stopped:
            return MachineState.STOPPED
        if self._record is None:
            return MachineState.IDLE
        if self._record.init.live() is None:
            return MachineState.STOPPED
        return MachineState.PAUSED if self._freezer(self._record).is_frozen() else MachineState.RUNNING

    @property
    def capabilities(self) -> Capabilities:
        groups = self._record.groups if self._record else None
        return Capabilities(
            pause_keeps_memory=True,
            shares_host_kernel=True,
            isolation="bubblewrap",
            network="allow-list" if isinstance(self._network, tuple) else self._network or "none",
            allowed_hosts=self._network if isinstance(self._network, tuple) else (),
            reconnect=True,
            limits=self._limits.described(groups.limits) if groups else {},
            freezer=groups.freezer if groups else None,
        )

    async def start(self) -> None:
        """Brings the machine up, in some 50 ms. Raises MachineUnavailable, ConfigurationError, StateError."""
        if self.state is not MachineState.IDLE:
            raise StateError(f"machine {self.id} was started before: use it, or make a new LocalMachine")
        try:
            coming = self._come_up(await self._directory())
            await (both(coming, _uninterrupted(self._observed.come_up())) if self._observed else coming)
        except BaseException:  # a cancellation, too, must leave nothing running
            await asyncio.shield(self._undo())
            raise

    async def pause(self) -> None:
        """Freezes every process of the machine; memory is kept. Raises StateError, MachineError."""
        async with self._lifecycle(MachineState.RUNNING, "pause()") as record:
            await _uninterrupted(self._freezer(record).freeze())

    async def resume(self) -> None:
        """Lets a paused machine go on. Raises StateError, MachineError."""
        async with self._lifecycle(MachineState.PAUSED, "resume()") as record:
            await _uninterrupted(self._freezer(record).thaw())

    async def stop(self) -> None:
        """Ends every process and removes the machine's files, what was not brought out of it included.

        Raises MachineError when something is left.
        """
        if self._layout is None:
            self._stopped = True
            return
        await _uninterrupted(self._end(self._layout))

    # --- commands and files -------------------------------------------------------------------------------

    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        """Runs `command` in a shell of the machine, in a session of its own, and waits for its end.

        Raises StateError, MachineLost, FileNotFoundError for a `cwd` that is not there, ConfigurationError.
        """
        place = self._place("execute()")
        await self._open_gateway()
        assert self._record is not None
        counters = self._counters = self._counters or Counters.of(self._record.groups)
        before = counters.read()
        try:
            result = await place.execute(command, options or ExecuteOptions())
        except MachineLost as error:
            if self._lifetime_is_over:
                raise self._lost() from error
            raise
        more = counters.exceeded(before)
        return replace(result, exceeded=tuple(dict.fromkeys((*more, *result.exceeded)))) if more else result

    async def network_refusals(self, after: int = 0) -> tuple[builtins.list[Refusal], int]:
        return await gateway.refusals((await self._directory()).directory, after)

    def another(self) -> LocalMachine:
        """A new machine with the same network, limits and environment."""
        return type(self)(network=self._network, limits=self._limits, env=self._env, state_dir=self._settings.state_dir)

    async def adapt(self, wishes: Wishes) -> dict[str, str]:
        """Limits, environment and allowed hosts; there is no image to choose."""
        self._require(MachineState.RUNNING, "adapt()")
        layout, record = self._layout, self._record
        assert layout is not None
        assert record is not None
        self._limits, left = adapting.taken(self._limits, wishes, adapting.never_raised(record.kept_by_group))
        kept = await asyncio.to_thread(cgroup.set_limits, record.groups, self._limits)
        arguments = self._limits.agent_arguments(by_cgroup=frozenset(kept))
        await self._in_sandbox(layout).tell([b"limit", *(argument.encode() for argument in arguments)], b"A")
        if wishes.network and self._network != "host":
            await gateway.end(layout.directory)
            had = self._network if isinstance(self._network, tuple) else ()
            self._network, self._gateway = AllowList.parse((*had, *wishes.network)).entries, None
        self._env |= wishes.env
        changes = {"limits": self._limits, "kept_by_group": kept, "network": self._network, "env": self._env}
        self._record, self._counters = record.model_copy(update=changes), None
        await asyncio.to_thread(self._record.save, layout.record)
        await self._open_gateway()
        return left | ({"image": "a local machine has the host's /usr, and no image"} if wishes.image else {})

    async def home(self) -> str:
        return sandbox.HOME

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

    # --- what sharing the host's kernel makes possible ----------------------------------------------------

    async def share_objects(self, directory: Path) -> str | None:
        """Also before `start()`, which then keeps the directory that was made for it."""
        layout = await self._directory()
        await asyncio.to_thread(objects.share, directory, layout.objects, readable_by_others=self._user.switch)
        return sandbox.OBJECTS

    async def observer(self, path: str) -> Observer | None:
        """None for a path outside the home directory. Works while the machine is paused.

        Asked for before `start()`, it comes up beside the machine.
        """
        layout = await self._directory()
        where = posixpath.normpath(posixpath.join(sandbox.HOME, path))
        if where != sandbox.HOME and not where.startswith(f"{sandbox.HOME}/"):
            return None
        found = observer.LocalObserver(layout, self._user, where[len(sandbox.HOME) :].lstrip("/"))
        if self._record is None:
            self._observed = found
        return found

    async def claim_spare(self, key: str) -> bool:
        if self.state is not MachineState.IDLE:
            raise StateError("claim_spare() comes before start()")
        return await Spares(self._settings, key, self._user).claim(await self._directory())

    async def keep_spare(self, key: str, command: str, options: ExecuteOptions) -> None:
        await Spares(self._settings, key, self._user).keep(await self._directory(), command, options)

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """All processes there are now are stopped until the end, which comes also when this program dies."""
        if self.state is MachineState.PAUSED:
            yield
            return
        connection = await self._place("quiet()").connect()
        try:
            await ask(connection, [b"quiet"], b"Q")
            yield
        finally:
            connection.close()

    # --- inside -------------------------------------------------------------------------------------------

    async def _come_up(self, layout: Layout) -> None:
        # A launch in a thread cannot be cancelled: it is waited for, and then undone by start().
        await _uninterrupted(asyncio.to_thread(self._launch, layout))
        await self._wait_until_ready(layout)
        await self._open_gateway()

    async def _directory(self) -> Layout:
        if self._stopped:
            raise StateError(f"machine {self.id} is stopped: make a new LocalMachine")
        async with self._making:
            if self._layout is None:
                await _uninterrupted(self._make_directory())
        assert self._layout is not None
        return self._layout

    async def _make_directory(self) -> None:
        self._layout = await asyncio.to_thread(Layout.create, self._settings, self._user)

    def _launch(self, layout: Layout) -> None:
        groups = cgroup.create(layout.directory.name, self._limits)
        created = time.time()  # before the agent's own clock begins, so that its end is never too early for ours
        try:
            init = sandbox.launch(self._plan(layout, groups))
        except BaseException:  # whatever it was, the groups are nobody's
            cgroup.discard(groups)
            raise
        self._record = MachineRecord(
            id=layout.directory.name,
            created=created,
            init=InitRecord.of(init),
            network=self._network,
            env=self._env,
            limits=self._limits,
            unified=groups.unified,
            by_controller=groups.by_controller,
            kept_by_group=groups.limits,
            freezer=groups.freezer,
        )
        self._record.save(layout.record)

    def _plan(self, layout: Layout, groups: Groups) -> Plan:
        return Plan(
            name="agent",
            directory=layout.directory,
            compiled=layout.compiled,
            user=self._user,
            binds=(
                Bind(layout.home, sandbox.HOME, writable=True),
                Bind(layout.objects, sandbox.OBJECTS),
                Bind(layout.shadow / "objects", sandbox.SHADOW),
            ),
            network=self._network == "host",
            tmp_bytes=self._limits.tmp_bytes,
            agent_arguments=tuple(self._limits.agent_arguments(by_cgroup=frozenset(groups.limits))),
            groups=groups,
        )

    async def _open_gateway(self) -> None:
        """Where there are allowed hosts: the proxy is there when this returns."""
        gateway = self._gateway_of()
        if gateway is None or self._layout is None:
            return
        try:
            await gateway.ensure()
        except (ConnectionError, FileNotFoundError) as error:
            raise self._lost() from error

    def _gateway_of(self) -> LocalGateway | None:
        if self._gateway is None and isinstance(self._network, tuple) and self._record and self._layout:
            init = Init(self._record.init.pid, self._record.init.start_time)
            address = self._address(self._layout)
            self._gateway = LocalGateway(self._layout, address, self._user, init, self._network)
        return self._gateway

    async def _wait_until_ready(self, layout: Layout) -> None:
        try:
            async with asyncio.timeout(_READY_LIMIT_S):
                await self._in_sandbox(layout).ping()
        except (TimeoutError, MachineLost) as error:
            log = proc.read_small(str(layout.directory / "agent.log"), 8192) or ""
            raise unavailable(log or "the agent did not answer") from error

    async def _undo(self) -> None:
        """After a start that failed: nothing is left, and it can be tried again."""
        layout, self._layout, self._observed = self._layout, None, None
        if layout is not None:
            with suppress(MachineError):
                await self._end(layout)
        self._record, self._gateway, self._counters, self._stopped = None, None, None, False

    async def _end(self, layout: Layout) -> None:
        record = self._record
        if record is not None and (init := record.init.live()) is not None:
            ended = await proc.kill(init.pid, init.start_time, then=lambda: self._release(record))
            if not ended:
                raise MachineError(f"machine {record.id} (process {init.pid}) could not be ended")
        await gateway.end(layout.directory)
        await observer.end(layout)
        if record is not None:
            await self._release(record)
            await asyncio.to_thread(cgroup.discard, record.groups)
        await remove_tree(layout.directory)
        self._stopped = True

    async def _release(self, record: MachineRecord) -> None:
        """Thaws what has been killed: in a frozen v1 group the kill waits for it, in v2 bubblewrap's own process."""
        frozen = self._freezer(record)
        if frozen.name != freezer.SweepFreezer.name and frozen.is_frozen():
            await frozen.thaw()

    @asynccontextmanager
    async def _lifecycle(self, wanted: MachineState, call: str) -> AsyncIterator[MachineRecord]:
        """One such call at a time, of all programs."""
        self._require(wanted, call)
        assert self._layout is not None
        assert self._record is not None
        async with FileLock(self._layout.directory / "lock", f"machine {self.id}").exclusive(_LIFECYCLE_LIMIT_S):
            self._require(wanted, call)
            yield self._record

    def _place(self, call: str) -> SandboxPlace:
        self._require(MachineState.RUNNING, call)
        assert self._layout is not None
        return self._in_sandbox(self._layout)

    def _in_sandbox(self, layout: Layout) -> SandboxPlace:
        gateway = self._gateway_of()
        environment = {**sandbox.base_environment(), **(gateway.environment if gateway else {}), **self._env}
        return SandboxPlace(self._address(layout), environment, sandbox.HOME, self._lost)

    def _address(self, layout: Layout) -> Address:
        return Address(layout.directory, "agent.sock", self._user.uid if self._user.switch else None)

    def _require(self, wanted: MachineState, call: str) -> None:
        state = self.state
        if state is wanted:
            return
        match state:
            case MachineState.IDLE:
                raise StateError(f"{call} needs a {wanted} machine: call start() first")
            case MachineState.PAUSED:
                raise StateError(f"{call} needs a running machine and {self.id} is paused: call resume() first")
            case MachineState.RUNNING:
                raise StateError(f"{call} needs a {wanted} machine and {self.id} is running: call pause() first")
        if self._stopped:
            raise StateError(f"{call}: machine {self.id} is stopped; make a new LocalMachine and start() it")
        raise self._lost()

    def _lost(self) -> MachineLost:
        where = self._layout.home if self._layout else self._settings.machines
        how = "has ended without stop()"
        if self._lifetime_is_over:
            how = f"has ended: its lifetime of {self._limits.lifetime_s:g} s is over"
        return MachineLost(f"machine {self.id} {how}; its files are still in {where}")

    @property
    def _lifetime_is_over(self) -> bool:
        lifetime_s, record = self._limits.lifetime_s, self._record
        return bool(lifetime_s and record and time.time() >= record.created + lifetime_s)

    def _freezer(self, record: MachineRecord) -> freezer.Freezer:
        return freezer.choose(record.groups, record.init.pid)


def _network(wanted: str | Sequence[str] | None) -> Network:
    if wanted is None or wanted == "none":
        return None
    if wanted == "host":
        return "host"
    if isinstance(wanted, str):
        raise ConfigurationError(
            f"network={wanted!r} is not a policy; there are None, 'host', and a list of allowed hosts, [{wanted!r}]"
        )
    return AllowList.parse(wanted).entries


def _live_ids(machines: Path) -> list[str]:
    found = []
    for path in machines.glob(f"*/{RECORD}"):
        with suppress(FileNotFoundError, GitMachineError):
            record = MachineRecord.load(path)
            if record.init.live() is not None:
                found.append((record.created, record.id))
    return [machine_id for _, machine_id in sorted(found)]


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Waits to the end of `work` also when cancelled, for half of it would be a leak; each has its own limit."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(GitMachineError):
            await task
        raise
