"""GitMachine: a machine whose checkout is a session branch."""

from __future__ import annotations

import asyncio
import posixpath
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import fields, replace
from types import TracebackType
from typing import Any, Self

from gitmachine import events as ev
from gitmachine.config import Checkpoint, Hook, Hooks, SessionConfig
from gitmachine.errors import (
    CallbackError,
    ConfigurationError,
    MachineError,
    PushHeld,
    PushRejected,
    RepositoryError,
    SessionNotFound,
    StateError,
)
from gitmachine.events import Event
from gitmachine.git.guard import Guard
from gitmachine.machine import Machine
from gitmachine.observers import call
from gitmachine.opening import open_connected, open_new, reconnect
from gitmachine.past import logs_of
from gitmachine.process import Process
from gitmachine.replaying import ON_START, replay
from gitmachine.session import Session, require
from gitmachine.session_files import SessionFiles
from gitmachine.session_forks import SessionForks
from gitmachine.session_git import SessionGit
from gitmachine.session_history import SessionHistory
from gitmachine.sessions import Registry, SessionRecord
from gitmachine.types import (
    ExecutionResult,
    GitIdentity,
    LogEntry,
    MachineState,
    PushOutcome,
    RunOptions,
)

_RUN_FIELDS = frozenset(field.name for field in fields(RunOptions))
_KEPT_LOG_ENTRIES = 1000
_LOG_ENTRIES_AT_CONNECT = 200
_LIVE = (MachineState.RUNNING, MachineState.PAUSED)


class GitMachine(SessionGit, SessionFiles, SessionHistory, SessionForks):
    """A session: a branch of a repository, checked out in a machine.

    `start()` brings the machine up and the repository in; `run()` works in it; `commit()`, `pause()`, `stop()` and,
    by default, each command make the work durable in the host's vault before they return. `async with` does
    `start()` and `stop()`; after an exception the work is made safe and the machine goes.

    One session can be driven by several programs at once: commands share it; commit, pause, resume, stop and pull
    take it alone. Callbacks may be plain functions or coroutines, and plain ones must not block.
    """

    def __init__(
        self,
        machine: Machine,
        repository: str | None = None,
        token: str | None = None,
        *,
        session: str | None = None,
        base: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        auto_commit: bool = True,
        checkpoint: Checkpoint = "command",
        identity: GitIdentity | None = None,
        guard: Guard | None = None,
        on_start: Hook = None,
        on_pause: Hook = None,
        on_resume: Hook = None,
        on_end: Hook = None,
        on_event: Callable[[str, dict[str, Any], GitMachine], Awaitable[None] | None] | None = None,
        lock_timeout: float = 60.0,
    ) -> None:
        """Nothing happens yet, but bad input is refused: raises ConfigurationError, InvalidSessionName.

        `repository` is a URL, a local path, or None for an empty start. Without `token` the environment's
        (GITMACHINE_TOKEN, for github.com GH_TOKEN and GITHUB_TOKEN) is used, else the host's own git credentials.
        Without `session` a branch name is made. `base` is the branch or commit a new session starts from, by default
        the remote's default branch. `env` reaches every command; `timeout`, in seconds, bounds each command that
        brings no bound of its own; `lock_timeout`, in seconds, the wait for another program's turn.
        """
        self._config = SessionConfig.checked(
            repository=repository,
            token=token,
            session=session,
            base=base,
            env=dict(env or {}),
            timeout=timeout,
            auto_commit=auto_commit,
            checkpoint=checkpoint,
            identity=identity or GitIdentity(),
            guard=guard or Guard(),
            lock_timeout=lock_timeout,
        )
        self._hooks = Hooks(on_start, on_pause, on_resume, on_end)
        self._on_event = on_event
        self._machine = machine
        self._session: Session | None = None
        self._logs: list[LogEntry] = []
        self._stopped = False
        self._known: SessionRecord | None = None
        self._replay = False

    @classmethod
    async def connect(
        cls, machine: Machine, repository: str | None = None, token: str | None = None, **options: Any
    ) -> Self:
        """Takes up the session on a machine that is already running or paused, from this program or another's.

        `options` are the constructor's. What the registry knows of the session, its branch and repository say,
        may be left out. Raises StateError when the machine is not live, SessionNotFound when nothing is known of it
        and `session` is not given, GitError when there is no checkout in it.
        """
        known = await asyncio.to_thread(Registry().on_machine, machine.id or "")
        if known is not None:
            repository = repository or known.repository
            options.setdefault("session", known.session)
        gm = cls(machine, repository, token, **options)
        if machine.state not in _LIVE:
            raise StateError(f"machine {machine.id} is {machine.state}: connect to a live one, or start() a new one")
        session = gm._session = await open_connected(machine, gm._config, known, gm._deliver)
        gm._logs = await logs_of(session.branch.chain, _LOG_ENTRIES_AT_CONNECT)
        await session.tell(ev.Reconnected(id=machine.id))
        return gm

    @classmethod
    async def reopen(
        cls,
        name: str,
        token: str | None = None,
        *,
        machine: Machine | None = None,
        replay: bool = True,
        **options: Any,
    ) -> Self:
        """Takes up a session of this host by its name or id, wherever its machine is.

        When that is gone the session goes on in `machine`, a new one of any provider, from the last checkpoint; the
        event `recovered` says what could not be brought back. Unless `on_start` is given or `replay` is false, the
        commands that its `on_start` ran are run again (event `replayed`). Raises SessionNotFound; and MachineNotFound
        or MachineLost when it is gone and no `machine` was given.
        """
        record = await asyncio.to_thread(Registry().find, name)
        options = {"auto_commit": record.auto_commit, "checkpoint": record.checkpoint, **options}
        try:
            live, record = await reconnect(record.id)
        except (MachineError, SessionNotFound):
            if machine is None:
                raise
        else:
            return await cls.connect(live, record.repository, token, session=record.session, **options)
        gm = cls(machine, record.repository, token, session=record.session, **options)
        gm._known = record
        gm._replay = replay
        await gm.start()
        return gm

    # --- what it is -------------------------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        """The machine itself, for what goes beyond the session."""
        return self._machine

    @property
    def state(self) -> MachineState:
        return MachineState.STOPPED if self._stopped else self._machine.state

    @property
    def id(self) -> str | None:
        """The machine's id."""
        return self._machine.id

    @property
    def path(self) -> str:
        """The checkout's absolute path in the machine."""
        return self._session.record.repo_path if self._session else "/home/user/repo"

    @property
    def session(self) -> str:
        """The branch."""
        return self._session.record.session if self._session else self._config.session

    @property
    def timeout(self) -> float | None:
        """Seconds that bound a command which brings no bound of its own."""
        return self._config.timeout

    @property
    def record(self) -> SessionRecord:
        """What the registry has of this session. Raises StateError before `start()`."""
        return self._opened("record").record

    # --- lifecycle --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Machine up, repository in, session branch checked out, then `on_start`.

        The branch is the remote's if it has it, else it is made from `base`. When anything fails no machine is left.
        Raises RepositoryError, BranchNotFound, MachineUnavailable, GitError, CallbackError, StateError.
        """
        require(self.state, [MachineState.IDLE], "start()")
        session = self._session = await open_new(self._machine, self._config, self._deliver, self._known)
        record = session.record
        sha = (await session.branch.refs()).get("tip")
        await session.tell(
            ev.Started(session=record.session, repo_path=record.repo_path, sha=sha, offline=session.offline)
        )
        try:
            await self._set_up(session)
        except BaseException:
            await asyncio.shield(self._end_after_failure())
            raise

    async def _set_up(self, session: Session) -> None:
        if self._hooks.on_start is None:
            if self._replay and session.goes_on:
                await replay(session, self.run)
            return
        session.stage = ON_START
        try:
            await call("on_start", self._hooks.on_start, self)
        finally:
            session.stage = ""

    async def pause(self) -> None:
        """Commits (with `auto_commit`), makes everything durable, calls `on_pause` and freezes the machine.

        Raises CaptureFailed or VaultError, and then leaves the machine running.
        """
        session = self._opened("pause()")
        require(self.state, [MachineState.RUNNING], "pause()")
        if self._hooks.on_pause is not None:
            async with session.alone("pause()"):
                await session.make_durable("auto-commit on pause")
            await call("on_pause", self._hooks.on_pause, self)
        await session.freeze("auto-commit on pause")

    async def resume(self) -> None:
        """Lets a paused machine go on, then calls `on_resume`."""
        session = self._opened("resume()")
        require(self.state, [MachineState.PAUSED], "resume()")
        await session.thaw()
        await call("on_resume", self._hooks.on_resume, self)
        await session.tell(ev.Resumed())

    async def stop(self, *, push: bool = True) -> PushOutcome:
        """Commits and pushes (with `auto_commit`), calls `on_end`, and ends the machine. Says where the work is.

        The machine goes only when the vault has the work. If the push does not succeed the error says where the work
        is, and the machine stays for another try: raises PushRejected, PushHeld, AuthenticationFailed,
        RemoteUnreachable. `push=False` leaves the work in the vault. Raises CaptureFailed, VaultError, CallbackError.
        """
        session = self._opened("stop()")
        require(self.state, _LIVE, "stop()")
        outcome = await session.publish_all(push=push)
        await session.tell(ev.Stopping())
        failure: CallbackError | None = None
        if self._hooks.on_end is not None:
            try:
                await call("on_end", self._hooks.on_end, self)
            except CallbackError as error:
                failure = error
            outcome = await session.publish_all(push=push, before=outcome)
        await self._end()
        if failure is not None:
            raise failure
        return outcome

    async def detach(self) -> None:
        """Lets go of the session without ending it: the machine lives on, `connect` takes it up again."""
        await self._machine.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stopped:
            return
        if error is not None:
            await asyncio.shield(self._end_after_failure())
            return
        try:
            await self.stop()
        except (PushRejected, PushHeld, RepositoryError):
            await self.stop(push=False)
            raise

    # --- running ----------------------------------------------------------------------------------------

    async def run(self, command: str, options: RunOptions | None = None, **keywords: Any) -> ExecutionResult:
        """Runs a shell command in the checkout and waits for its end.

        Options as a RunOptions, as keywords, or both. A non-zero exit is a result. The session's `env` is added, its
        `timeout` applies if none is given. With `checkpoint="command"` the working tree is in the vault when
        this returns. Raises StateError on a paused machine.
        """
        session = self._opened("run()")
        chosen = self._run_options(options, keywords)
        started = time.time()
        async with session.sharing("run()"):
            result = await session.execute(command, chosen)
        self._logs = [*self._logs[1 - _KEPT_LOG_ENTRIES :], LogEntry(command, result, started)]
        await call("on_exit", chosen.on_exit, result.exit_code)
        return result

    async def spawn(self, command: str, options: RunOptions | None = None, **keywords: Any) -> Process:
        """Starts a background command in the checkout. It survives between calls; a pause freezes it.

        When it has ended it comes into the history, at its `wait()` or at the next commit, pause or stop.
        """
        session = self._opened("spawn()")
        async with session.sharing("spawn()"):
            return await session.spawn(command, self._run_options(options, keywords))

    async def update(self, env: Mapping[str, str] | None = None, on_update: Hook = None) -> None:
        """Adds to the environment of the commands to come, then calls `on_update`."""
        self._config = self._config.with_env(env or {})
        await call("on_update", on_update, self)

    def logs(self) -> list[LogEntry]:
        """The commands that this session has run, oldest first, the last thousand of them."""
        return list(self._logs)

    async def events(self, after: int = 0, limit: int | None = None) -> list[Event]:
        """The session's events with a number above `after`, oldest first."""
        return await asyncio.to_thread(self._opened("events()").store.events.read, after, limit)

    def watch(self, after: int = 0) -> AsyncIterator[Event]:
        """The same, and then those to come, from whatever program; ends behind `stopped`."""
        return self._opened("watch()").observers.watch(after)

    # --- inside -----------------------------------------------------------------------------------------

    def _opened(self, name: str) -> Session:
        if self._session is None:
            require(self.state, [], name)
        assert self._session is not None
        return self._session

    def _usable_machine(self, name: str) -> Machine:
        self._opened(name)
        require(self.state, [MachineState.RUNNING], name)
        return self._machine

    def _run_options(self, options: RunOptions | None, keywords: dict[str, Any]) -> RunOptions:
        if unknown := keywords.keys() - _RUN_FIELDS:
            raise ConfigurationError(
                f"unknown option {', '.join(sorted(unknown))}: use {', '.join(sorted(_RUN_FIELDS))}"
            )
        chosen = replace(options or RunOptions(), **keywords)
        return replace(
            chosen,
            cwd=posixpath.join(self.path, chosen.cwd or ""),
            env={**self._config.env, **chosen.env},
            timeout=self._config.timeout if chosen.timeout is None else chosen.timeout,
        )

    def _deliver(self, event: Event) -> Awaitable[None] | None:
        return None if self._on_event is None else self._on_event(event.name, event.data(), self)

    async def _end(self) -> None:
        assert self._session is not None
        await self._session.end()
        self._stopped = True

    async def _end_after_failure(self) -> None:
        assert self._session is not None
        await self._session.end_after_failure()
        self._stopped = True
