"""The sessions that callers work with: opened, woken, put to sleep, ended, and each for its owner only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gitmachine.errors import (
    ConfigurationError,
    GitMachineError,
    MachineError,
    SessionNotFound,
    StateError,
)
from gitmachine.events import Event
from gitmachine.git_machine import GitMachine
from gitmachine.opening import machine_of
from gitmachine.sessions import Registry, SessionRecord, SessionStore
from gitmachine.types import MachineState
from gitmachine_mcp.commands import Commands
from gitmachine_mcp.crew import Crew
from gitmachine_mcp.handles import HandleRecord, Handles, newest
from gitmachine_mcp.machines import new_machine
from gitmachine_mcp.options import Options
from gitmachine_mcp.patches import Patch
from gitmachine_mcp.principal import LOCAL

log = logging.getLogger(__name__)

Deliver = Callable[[HandleRecord, Event], Awaitable[None]]
LIVE = (MachineState.RUNNING, MachineState.PAUSED)
_USE_IS_WRITTEN_EVERY_S = 10.0
_LOOK_FOR_IDLE_EVERY_S = 5.0
_ROUNDS_BETWEEN_COLLECTIONS = 60


@dataclass(slots=True)
class OpenSession:
    """A session that this server has open."""

    record: HandleRecord
    gm: GitMachine
    commands: Commands
    store: SessionStore
    follower: asyncio.Task[None] | None = None
    used: datetime = field(default_factory=lambda: datetime.now(UTC))
    patch: Patch | None = None
    """The last that was asked for: cursors point into it."""

    @property
    def handle(self) -> str:
        return self.record.handle


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `start` was asked for, checked against the operator's options."""

    repository: str
    branch: str | None
    base: str | None
    ttl_s: float


class Desk:
    """All sessions of one server. `open` before use, `close` at the end."""

    def __init__(self, options: Options, deliver: Deliver) -> None:
        self.options = options
        self.registry = Registry()
        self.handles = Handles(self.registry.settings)
        self.crew = Crew()
        self._deliver = deliver
        self._open: dict[str, OpenSession] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    # --- life of the server -----------------------------------------------------------------------------

    def open(self) -> None:
        """Begins to look after leases."""
        self.crew.start(self._look_after(), "leases")

    async def close(self, limit_s: float) -> None:
        """Commands killed, sessions safe and frozen, within `limit_s` seconds."""
        try:
            async with asyncio.timeout(limit_s * 0.8):
                await asyncio.gather(*(self._leave(session) for session in list(self._open.values())))
        except TimeoutError:
            log.warning("not every session could be put to sleep in time; their work is safe up to the last command")
        await self.crew.close(limit_s * 0.2)
        self._open.clear()

    # --- sessions ---------------------------------------------------------------------------------------

    async def start(self, principal: str, wanted: Wanted) -> OpenSession:
        """A new session, or the ended one of that branch on a new machine. Raises what `GitMachine.start` does."""
        self.check_room(principal)
        gm = GitMachine(
            machine=new_machine(self.options),
            repository=wanted.repository,
            session=wanted.branch,
            base=wanted.base,
            consent=self.options.consent,
            lock_timeout=self.options.lock_timeout_s,
        )
        await gm.start()
        known = newest(self.handles.of(principal, lambda record: record.session_id == gm.record.id))
        if known is None:
            mint = self.handles.mint
            record = await asyncio.to_thread(
                mint, principal, gm.record.id, gm.record.repository, gm.session, wanted.ttl_s
            )
        else:
            record = known.model_copy(update={"ended": False, "asleep": False, "ttl_s": wanted.ttl_s})
        return await self._opened(record, gm, after=_before_started(self.registry.store(gm.record.id)))

    async def forked(self, principal: str, origin: OpenSession, gm: GitMachine) -> OpenSession:
        """The handle of a session that was made of another."""
        ttl_s = origin.record.ttl_s
        mint = self.handles.mint
        record = await asyncio.to_thread(mint, principal, gm.record.id, gm.record.repository, gm.session, ttl_s)
        return await self._opened(record, gm, after=0)

    async def take_up(self, principal: str, name: str) -> OpenSession:
        """Goes on with a session: live, asleep, or ended and then on a new machine."""
        record = self.handles.find(principal, name) or self._adopted(principal, name)
        known = self.registry.find(record.session_id)
        if await _is_live(known):
            return await self._opened_again(record)
        self.check_room(principal)
        store = self.registry.store(record.session_id)
        after = store.events.count()
        if known.machine is not None and known.state is not MachineState.STOPPED:  # lost, and not ended
            gm = await GitMachine.reopen(
                record.session_id, machine=new_machine(self.options), lock_timeout=self.options.lock_timeout_s
            )
            return await self._opened(record.model_copy(update={"ended": False, "asleep": False}), gm, after=after)
        if known.repository is None:
            raise SessionNotFound(f"session {name!r} has ended and has no repository to go on with: start a new one")
        return await self.start(principal, Wanted(known.repository, known.session, None, record.ttl_s))

    async def get(self, principal: str, handle: str | None, *, awake: bool = False, used: bool = True) -> OpenSession:
        """The session that a call is about. With `awake`, one that the server put to sleep is woken; unless `used`,
        its lease is not renewed.

        Without a handle: the only one, else, where a repository is preset, a new one. Raises SessionNotFound,
        MachineLost.
        """
        if handle:
            session = await self._opened_again(self._named(principal, handle))
        else:
            # Calls that come together must not each start a session of their own.
            async with self._opening.setdefault(principal, asyncio.Lock()):
                record = await self._implied(principal)
                if record is None:
                    session = await self.start(principal, self.preset(principal))
                else:
                    session = await self._opened_again(record)
        if used:
            session.used = datetime.now(UTC)
        if awake and session.record.asleep and session.gm.state is MachineState.PAUSED:
            await session.gm.resume()
            await self.note(session, asleep=False)
        return session

    def preset(self, principal: str) -> Wanted:
        """The session that starts by itself. Raises SessionNotFound when the operator has set no repository."""
        options = self.options
        if options.repo is None:
            raise SessionNotFound("no session is live: call `start` with the address of a repository first")
        branch = options.branch if principal == LOCAL else None
        return Wanted(options.repo, branch, options.base, options.session_ttl_s)

    def known(self, principal: str) -> list[HandleRecord]:
        """This caller's sessions, the one used last first."""
        records = self.handles.of(principal)
        return [self._open[r.handle].record if r.handle in self._open else r for r in reversed(records)]

    def state_of(self, record: HandleRecord) -> str:
        """The state as a caller understands it: asleep is what wakes by itself."""
        if (session := self._open.get(record.handle)) is not None:
            state = session.gm.state
        elif record.ended:
            return "ended"
        else:
            try:
                state = self.registry.store(record.session_id).load().state
            except (FileNotFoundError, GitMachineError):
                return "ended"
        if state is MachineState.STOPPED:
            return "ended"
        return "asleep" if record.asleep and state is MachineState.PAUSED else str(state)

    async def note(self, session: OpenSession, **changes: object) -> None:
        """Writes down what has changed about a session."""
        update = {"used_at": session.used, **changes}
        session.record = session.record.held().model_copy(update=update)
        await asyncio.to_thread(self.handles.save, session.record)

    async def ended(self, session: OpenSession) -> None:
        """The session is over; its handle is kept, for `start` with `resume`."""
        await self.note(session, ended=True, asleep=False)
        self._open.pop(session.handle, None)

    def check_room(self, principal: str) -> None:
        """Raises StateError when the caller has as many live sessions as one may have."""
        live = [r for r in self.known(principal) if self.state_of(r) not in ("ended", "asleep")]
        if len(live) >= self.options.max_sessions:
            names = ", ".join(record.handle for record in live)
            raise StateError(f"{len(live)} sessions are live, which is the limit: `stop` one of them first: {names}")

    # --- inside -----------------------------------------------------------------------------------------

    def _named(self, principal: str, handle: str) -> HandleRecord:
        record = self._open[handle].record if handle in self._open else self.handles.find(principal, handle)
        if record is None or record.principal != principal:
            raise SessionNotFound(f"there is no session {handle[:80]!r}: `status` lists yours, `start` begins one")
        return record

    async def _implied(self, principal: str) -> HandleRecord | None:
        """The one session that can be meant: one that this server has open, else one that nobody has open."""
        preset = None if self.options.repo is None else self.options.check_repository(self.options.repo)
        mine = [
            session.record
            for session in self._open.values()
            if session.record.principal == principal and session.gm.state in LIVE
        ]
        if not mine:
            free = self.handles.of(principal, lambda r: not r.ended and not r.held_elsewhere())
            mine = [record for record in free if preset in (None, record.repository) and await self._can_go_on(record)]
        if len(mine) > 1:
            names = ", ".join(f"{record.handle} ({record.branch})" for record in mine)
            raise ConfigurationError(f"{len(mine)} sessions are live, say which one is meant in `session`: {names}")
        return mine[0] if mine else None

    async def _can_go_on(self, record: HandleRecord) -> bool:
        try:
            return await _is_live(self.registry.store(record.session_id).load())
        except (FileNotFoundError, GitMachineError):
            return False

    def _adopted(self, principal: str, name: str) -> HandleRecord:
        """A handle for a session that was begun by another door. Only the user himself can ask for it."""
        if principal != LOCAL:
            raise SessionNotFound(f"there is no session {name[:80]!r}: `status` lists yours, `start` begins one")
        known = self.registry.find(name)
        if known.repository is not None:
            self.options.check_repository(known.repository)
        return self.handles.mint(principal, known.id, known.repository, known.session, self.options.session_ttl_s)

    async def _opened_again(self, record: HandleRecord) -> OpenSession:
        async with self._opening.setdefault(record.handle, asyncio.Lock()):
            if (session := self._open.get(record.handle)) is not None:
                if session.gm.state in LIVE:
                    return session
                self._open.pop(record.handle)
            store = self.registry.store(record.session_id)
            after = store.events.count()
            gm = await GitMachine.reopen(record.session_id, lock_timeout=self.options.lock_timeout_s)
            return await self._opened(record, gm, after=after)

    async def _opened(self, record: HandleRecord, gm: GitMachine, *, after: int) -> OpenSession:
        store = self.registry.store(record.session_id)
        session = OpenSession(record, gm, Commands(gm, self.crew, store.directory / "mcp"), store)
        self._open[record.handle] = session
        await self.note(session)
        session.follower = self.crew.start(self._follow(session, after), f"events of {record.branch}")
        return session

    async def _follow(self, session: OpenSession, after: int) -> None:
        async for event in session.gm.watch(after):
            await self._deliver(session.record, event)

    async def _leave(self, session: OpenSession) -> None:
        """Safe and frozen, for the next server."""
        await session.commands.kill_all()
        try:
            if session.gm.state is MachineState.RUNNING:
                await session.gm.pause()
                await self.note(session, asleep=True, holder_pid=None)
            elif session.gm.state is MachineState.PAUSED:
                await self.note(session, holder_pid=None)
        except (GitMachineError, OSError) as error:
            log.warning("session %s could not be put to sleep: %s", session.record.branch, error)
        await session.gm.detach()

    async def _look_after(self) -> None:
        while True:
            for record in await asyncio.to_thread(self.handles.all):
                await self._collect(record)
            for _ in range(_ROUNDS_BETWEEN_COLLECTIONS):
                await asyncio.sleep(_LOOK_FOR_IDLE_EVERY_S)
                for session in list(self._open.values()):
                    await self._look_at(session)

    async def _collect(self, record: HandleRecord) -> None:
        """A session that no server has open any more, and whose lease is over."""
        idle = (datetime.now(UTC) - record.used_at).total_seconds()
        limit = record.ttl_s + (self.options.forget_after_s if record.asleep else 0.0)
        if record.ended or record.handle in self._open or record.held_elsewhere() or idle < limit:
            return
        try:
            if not await self._can_go_on(record):
                await asyncio.to_thread(self.handles.save, record.model_copy(update={"ended": True}))
                return
            session = await self._opened_again(record)
            session.used = record.used_at
            await self._look_at(session)
        except (GitMachineError, OSError) as error:
            log.warning("the abandoned session %s could not be collected: %s", record.branch, error)

    async def _look_at(self, session: OpenSession) -> None:
        """Writes down its use, and puts it to sleep when its lease is over."""
        if (session.used - session.record.used_at).total_seconds() > _USE_IS_WRITTEN_EVERY_S:
            await self.note(session)
        idle = (datetime.now(UTC) - session.used).total_seconds()
        if idle < session.record.ttl_s or session.commands.running() or session.gm.state not in LIVE:
            return
        try:
            if session.gm.state is MachineState.RUNNING:
                await session.gm.pause()
                await self.note(session, asleep=True)
            elif idle > session.record.ttl_s + self.options.forget_after_s:
                await session.gm.stop(push=False)
                await self.ended(session)
        except (GitMachineError, OSError) as error:
            log.warning("session %s is idle and could not be put to sleep: %s", session.record.branch, error)


async def _is_live(record: SessionRecord) -> bool:
    """Asks the machine itself."""
    if record.machine is None or record.state is MachineState.STOPPED:
        return False
    try:
        machine = await machine_of(record)
    except MachineError:
        return False
    try:
        return machine.state in LIVE
    finally:
        await machine.aclose()


def _before_started(store: SessionStore) -> int:
    """The number of the event before the `started` that the log ends with."""
    last = store.events.count()
    for event in reversed(store.events.read(max(0, last - 10))):
        if event.name == "started":
            return event.seq - 1
    return last
