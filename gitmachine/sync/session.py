"""GitMachine without `await`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack, cast

from gitmachine import git_machine as core
from gitmachine import machine as core_machine
from gitmachine.config import Checkpoint
from gitmachine.events import Event
from gitmachine.forking import MachineSource
from gitmachine.git.guard import Guard
from gitmachine.sessions import SessionRecord
from gitmachine.sync.calls import in_thread, with_threads, without_await
from gitmachine.sync.machine import Machine, Process, behind
from gitmachine.sync.owner import OwnerLoop, shared
from gitmachine.types import ExecutionResult, GitIdentity, LogEntry, MachineState, RunOptions

Hook = Callable[[Any], object] | None
"""A lifecycle callback: receives the GitMachine of this module, in a worker thread."""

_HOOKS = ("on_start", "on_pause", "on_resume", "on_end")


class SessionOptions(TypedDict, total=False):
    """The options of `gitmachine.GitMachine`, which says what they mean."""

    session: str | None
    base: str | None
    env: Mapping[str, str] | None
    timeout: float | None
    auto_commit: bool
    checkpoint: Checkpoint
    identity: GitIdentity | None
    guard: Guard | None
    on_start: Hook
    on_pause: Hook
    on_resume: Hook
    on_end: Hook
    on_event: Callable[[str, dict[str, Any], Any], object] | None
    lock_timeout: float


class GitMachine:
    """A session, as `gitmachine.GitMachine`, whose calls block until they are done.

    Any thread may call, several at once. A call on the owner loop's own thread raises StateError, for it would wait
    for ever. Ctrl-C during a call cancels it, kills its command, and is raised when that is done.
    """

    def __init__(
        self,
        machine: core_machine.Machine | Machine,
        repository: str | None = None,
        token: str | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        """Nothing happens yet, but bad input is refused: raises ConfigurationError, InvalidSessionName."""
        self._owner = shared()
        chosen = self._in_threads(dict(options))
        self._asynchronous = core.GitMachine(behind(machine), repository, token, **chosen)

    @classmethod
    def connect(
        cls,
        machine: core_machine.Machine | Machine,
        repository: str | None = None,
        token: str | None = None,
        **options: Unpack[SessionOptions],
    ) -> Self:
        """Takes up the session on a live machine. Raises StateError, SessionNotFound, GitError."""
        gm = cls.__new__(cls)
        gm._owner = shared()
        chosen = gm._in_threads(dict(options))
        gm._asynchronous = gm._owner.run(core.GitMachine.connect(behind(machine), repository, token, **chosen))
        return gm

    @classmethod
    def reopen(
        cls,
        name: str,
        token: str | None = None,
        *,
        machine: core_machine.Machine | Machine | None = None,
        replay: bool = True,
        **options: Unpack[SessionOptions],
    ) -> Self:
        """Takes up a session of this host by its name or id, in `machine` when its own is gone.

        Raises SessionNotFound, MachineNotFound, MachineLost.
        """
        gm = cls.__new__(cls)
        gm._owner = shared()
        chosen = gm._in_threads(dict(options))
        new = None if machine is None else behind(machine)
        gm._asynchronous = gm._owner.run(core.GitMachine.reopen(name, token, machine=new, replay=replay, **chosen))
        return gm

    @classmethod
    def of(cls, asynchronous: core.GitMachine, owner: OwnerLoop | None = None) -> Self:
        """The session that is behind `asynchronous`, which from now on is awaited on the owner loop only."""
        gm = cls.__new__(cls)
        gm._owner, gm._asynchronous = owner or shared(), asynchronous
        return gm

    # --- what it is -------------------------------------------------------------------------------------

    @property
    def asynchronous(self) -> core.GitMachine:
        """The session behind this one. Its coroutines belong on the owner loop: `gm.owner.run(...)`."""
        return self._asynchronous

    @property
    def owner(self) -> OwnerLoop:
        """The loop that carries out the calls."""
        return self._owner

    @property
    def machine(self) -> Machine:
        """The machine itself, for what goes beyond the session."""
        return Machine(self._asynchronous.machine, self._owner)

    @property
    def state(self) -> MachineState:
        return self._asynchronous.state

    @property
    def id(self) -> str | None:
        """The machine's id."""
        return self._asynchronous.id

    @property
    def path(self) -> str:
        """The checkout's absolute path in the machine."""
        return self._asynchronous.path

    @property
    def session(self) -> str:
        """The branch."""
        return self._asynchronous.session

    @property
    def timeout(self) -> float | None:
        """Seconds that bound a command which brings no bound of its own."""
        return self._asynchronous.timeout

    @property
    def record(self) -> SessionRecord:
        """What the registry has of this session. Raises StateError before `start()`."""
        return self._asynchronous.record

    # --- what it does -----------------------------------------------------------------------------------

    start = without_await(core.GitMachine.start)
    pause = without_await(core.GitMachine.pause)
    resume = without_await(core.GitMachine.resume)
    stop = without_await(core.GitMachine.stop)
    detach = without_await(core.GitMachine.detach)

    diff = without_await(core.GitMachine.diff)
    commit = without_await(core.GitMachine.commit)
    push = without_await(core.GitMachine.push)
    pull = without_await(core.GitMachine.pull)
    hash = without_await(core.GitMachine.hash)
    status = without_await(core.GitMachine.status)
    events = without_await(core.GitMachine.events)

    history = without_await(core.GitMachine.history)
    outputs = without_await(core.GitMachine.outputs)
    rewind = without_await(core.GitMachine.rewind)
    blame = without_await(core.GitMachine.blame)
    changed_since = without_await(core.GitMachine.changed_since)
    verify = without_await(core.GitMachine.verify)

    read_file = without_await(core.GitMachine.read_file)
    read_bytes = without_await(core.GitMachine.read_bytes)
    write_file = without_await(core.GitMachine.write_file)
    edit_file = without_await(core.GitMachine.edit_file)
    list_files = without_await(core.GitMachine.list_files)
    upload = without_await(core.GitMachine.upload)
    download = without_await(core.GitMachine.download)

    def run(self, command: str, options: RunOptions | None = None, **keywords: Any) -> ExecutionResult:
        """Runs a shell command in the checkout and waits for its end. A non-zero exit is a result."""
        options, keywords = with_threads(options, keywords)
        return self._owner.run(self._asynchronous.run(command, options, **keywords))

    def spawn(self, command: str, options: RunOptions | None = None, **keywords: Any) -> Process:
        """Starts a background command in the checkout. It survives between calls; a pause freezes it."""
        return Process(self._owner.run(self._asynchronous.spawn(command, options, **keywords)), self._owner)

    def fork(self, name: str, at: int | None = None, machine: MachineSource = None) -> Self:
        """A new session, `name`, from this moment or from what entry `at` of the history left; it is running."""
        return self.of(self._owner.run(self._asynchronous.fork(name, at, machine)), self._owner)

    def forks(self, name: str, count: int, at: int | None = None, machine: MachineSource = None) -> list[Self]:
        """Several at once, `name-1` and so on, which share on one host what they have in common. All or none."""
        made = self._owner.run(self._asynchronous.forks(name, count, at, machine))
        return [self.of(fork, self._owner) for fork in made]

    def update(self, env: Mapping[str, str] | None = None, on_update: Hook = None) -> None:
        """Adds to the environment of the commands to come, then calls `on_update`."""
        self._owner.run(self._asynchronous.update(env, self._given_the_session(on_update)))

    def logs(self) -> list[LogEntry]:
        """The commands that this session has run, oldest first, the last thousand of them."""
        return self._asynchronous.logs()

    def watch(self, after: int = 0) -> Iterator[Event]:
        """The session's events, and then those to come, from whatever program; ends behind `stopped`."""
        events = cast(AsyncGenerator[Event, None], self._asynchronous.watch(after))

        async def following() -> Event | None:
            return await anext(events, None)

        try:
            while (event := self._owner.run(following())) is not None:
                yield event
        finally:
            self._owner.run(events.aclose())

    def __enter__(self) -> Self:
        self._owner.run(self._asynchronous.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner.run(self._asynchronous.__aexit__(kind, error, trace))

    # --- inside -----------------------------------------------------------------------------------------

    def _in_threads(self, options: dict[str, Any]) -> dict[str, Any]:
        for name in _HOOKS:
            if name in options:
                options[name] = self._given_the_session(options[name])
        if (on_event := in_thread(options.get("on_event"))) is not None:

            async def told(event: str, data: dict[str, Any], whose: core.GitMachine) -> None:
                await on_event(event, data, self._facade(whose))

            options["on_event"] = told
        return options

    def _given_the_session(self, hook: Hook) -> Callable[[Any], Any] | None:
        callback = in_thread(hook)
        if callback is None:
            return None

        async def call(whose: core.GitMachine) -> None:
            await callback(self._facade(whose))

        return call

    def _facade(self, whose: core.GitMachine) -> Self:
        """A fork has its parent's callbacks; each is to be given the session that it is about."""
        mine = getattr(self, "_asynchronous", whose)  # not there yet while `connect` makes it
        return self if whose is mine else self.of(whose, self._owner)
