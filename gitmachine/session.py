"""Session: the part of a GitMachine that exists once it is open. Locks, captures, commits, pushes and tells."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gitmachine import events as ev
from gitmachine.actor import current as current_actor
from gitmachine.background import BackgroundCommand, BackgroundCommands, SessionProcess
from gitmachine.config import SessionConfig
from gitmachine.errors import (
    CaptureFailed,
    GitError,
    MachineLost,
    ProcessNotFound,
    PushHeld,
    PushRejected,
    RemoteUnreachable,
    StateError,
    VaultError,
)
from gitmachine.git.branch import CommitOutcome, SessionBranch
from gitmachine.git.capturing import Captured
from gitmachine.git.chain import Draft, HistoryEntry
from gitmachine.git.looking import Looked
from gitmachine.git.remote import redact
from gitmachine.live_output import LiveOutput
from gitmachine.machine import Machine
from gitmachine.observers import Observers
from gitmachine.output import OutputKeeper
from gitmachine.paths import relative
from gitmachine.process import Process
from gitmachine.project.consent import Grant
from gitmachine.refusing import ALLOW_LIST, Refusals
from gitmachine.sessions import SessionRecord, SessionStore
from gitmachine.types import (
    DEFAULT_MAX_OUTPUT_BYTES,
    Actor,
    ExecutionResult,
    MachineState,
    PullOutcome,
    PushOutcome,
    Refusal,
    RunOptions,
)

_KILLED = 137
"""What a shell says of a command that SIGKILL ended, as the end of its machine does."""

_NEXT_CALL = {
    MachineState.IDLE: "start() it first",
    MachineState.RUNNING: "it is running already",
    MachineState.PAUSED: "resume() it first",
    MachineState.STOPPED: "it has ended; make a new GitMachine with the same session to go on with its branch",
}


def require(state: MachineState, wanted: Sequence[MachineState], call: str) -> None:
    """Raises StateError naming the call that would help, unless `state` is one of those wanted."""
    if state not in wanted:
        raise StateError(f"{call} on a session that is {state}: {_NEXT_CALL[state]}")


@dataclass(slots=True)
class Session:
    """An open session. Its methods expect the lock that their name of the context manager says."""

    machine: Machine
    config: SessionConfig
    store: SessionStore
    record: SessionRecord
    branch: SessionBranch
    observers: Observers
    secrets: tuple[str, ...] = ()
    """Never to be written into the history, in any spelling."""
    grant: Grant | None = None
    """What the repository's own file got when the session was opened."""
    offline: bool = False
    """The remote was out of reach when the session was opened."""
    goes_on: bool = False
    """It has been on another machine before."""
    stage: str = ""
    """What the commands of this moment are for: see `HistoryEntry.stage`."""
    lost: bool = False
    """The machine has ended under the session, and that was told."""

    # --- whose turn it is -------------------------------------------------------------------------------

    @asynccontextmanager
    async def sharing(self, call: str) -> AsyncIterator[None]:
        """Held by commands. One that was called before a pause began waits for the resume."""
        require(self.machine.state, [MachineState.RUNNING], call)
        deadline = time.monotonic() + self.config.lock_timeout
        while True:
            async with self.store.lock.shared(max(0.0, deadline - time.monotonic())), self.noticing():
                if self.machine.state is MachineState.RUNNING:
                    yield
                    return
                if self.machine.state is not MachineState.PAUSED or time.monotonic() > deadline:
                    require(self.machine.state, [MachineState.RUNNING], call)
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def alone(self, call: str) -> AsyncIterator[None]:
        """Held by what changes the session. A paused machine is resumed for it and paused again."""
        require(self.machine.state, [MachineState.RUNNING, MachineState.PAUSED], call)
        async with (
            self.store.lock.exclusive(self.config.lock_timeout),
            self.noticing(),
            self._while_running(call),
            self.capturing(),
        ):
            yield

    @asynccontextmanager
    async def reading(self, call: str) -> AsyncIterator[None]:
        """Held by what only looks. Goes on beside running commands; a paused machine is treated as by `alone`."""
        require(self.machine.state, [MachineState.RUNNING, MachineState.PAUSED], call)
        async with self.store.lock.shared(self.config.lock_timeout):
            # Asked with the lock held: before, the machine may have been running only for somebody's operation.
            if self.machine.state is MachineState.RUNNING:
                async with self.noticing(), self.capturing():
                    yield
                return
        async with self.alone(call):
            yield

    @asynccontextmanager
    async def noticing(self) -> AsyncIterator[None]:
        """While it is held, the end of the machine is told, once, to those who watch the session."""
        try:
            yield
        except MachineLost as error:
            if not self.lost:
                self.lost = True
                await self.tell(ev.MachineLost(machine=self.machine.id, reason=str(error)))
            raise

    def capturing(self) -> AbstractAsyncContextManager[None]:
        """Held while the working tree is read and the history written."""
        return self.store.capture_lock.exclusive(self.config.lock_timeout)

    @asynccontextmanager
    async def _while_running(self, call: str) -> AsyncIterator[None]:
        require(self.machine.state, [MachineState.RUNNING, MachineState.PAUSED], call)
        if self.machine.state is MachineState.RUNNING:
            yield
            return
        await self.machine.resume()
        try:
            async with self.machine.quiet():
                yield
        finally:
            await asyncio.shield(self.machine.pause())

    # --- what is done in turn ---------------------------------------------------------------------------

    async def tell(self, event: ev.Event) -> None:
        await self.observers.tell(event)

    async def note(self, state: MachineState) -> None:
        """Writes the state into the registry."""
        self.record = self.record.model_copy(update={"state": state, "updated_at": datetime.now(UTC)})
        await asyncio.to_thread(self.store.save, self.record)

    async def capture(self, draft: Draft | None = None, looked: Looked | None = None) -> Captured:
        """Files and history into the vault; with `draft` an entry into the session's history, too."""
        captured = await self.branch.capture(draft, looked=looked)
        if captured.changed:
            await self.tell(ev.Checkpointed(sha=captured.checkpoint, tree=captured.tree))
        if captured.history.unreadable is not None:
            reason = captured.history.unreadable
            await self.tell(ev.CaptureIncomplete(what="the history of the machine's repository", reason=reason))
        if captured.trouble:
            await self.tell(ev.CaptureIncomplete(what="some files", reason=captured.trouble))
        return captured

    async def commit(self, message: str | None, paths: Sequence[str] | None = None) -> CommitOutcome:
        await self.settle()
        outcome = await self.branch.commit(message, paths)
        withheld = [{"path": os.fsdecode(item.path), "reason": item.reason} for item in outcome.withheld]
        if outcome.sha is not None:
            await self.tell(ev.Committed(sha=outcome.sha, message=outcome.message, withheld=withheld))
        elif withheld:
            await self.tell(ev.Withheld(withheld=withheld))
        if outcome.not_applied is not None:
            what = f"commit {outcome.sha} is in the vault; the repository in the machine did not take it"
            await self.tell(ev.CaptureIncomplete(what=what, reason=outcome.not_applied))
        return outcome

    async def make_durable(self, message: str) -> None:
        """An automatic commit where the session makes them, else a checkpoint."""
        if self.config.auto_commit:
            await self.commit(message)
        else:
            await self.settle()
            await self.capture()

    async def push(self, allow: Iterable[str] = ()) -> PushOutcome:
        try:
            outcome = await self.branch.push(allow)
        except PushRejected as error:
            where = error.outcome
            reason = where.reason or "rejected"
            await self.tell(ev.PushRejected(reason=reason, where=where.where, ref=where.ref, sha=where.sha))
            raise
        except PushHeld as error:
            await self.tell(ev.PushHeld(paths=list(error.outcome.held), ref=error.outcome.ref))
            raise
        except RemoteUnreachable as error:
            where = error.outcome or PushOutcome("vault")
            await self.tell(ev.PushRejected(reason=str(error), where="vault", ref=where.ref, sha=where.sha))
            raise
        if outcome.where == "remote":
            await self.tell(ev.Pushed(sha=outcome.sha, branch=self.record.session))
        return outcome

    async def pull(self) -> PullOutcome:
        outcome = await self.branch.pull()
        await self.tell(ev.Pulled(sha=outcome.sha, conflicts=list(outcome.conflicts)))
        return outcome

    async def freeze(self, message: str) -> None:
        """The last capture, then the pause. Raises CaptureFailed, VaultError, and leaves the machine running."""
        await self._tell_refusals()
        async with self.store.lock.exclusive(self.config.lock_timeout), self.noticing():
            require(self.machine.state, [MachineState.RUNNING], "pause()")
            async with self.capturing(), self.machine.quiet():
                await self.make_durable(message)
            await self.machine.pause()
            await self.note(MachineState.PAUSED)
            await self.tell(ev.Paused())

    async def thaw(self) -> None:
        async with self.store.lock.exclusive(self.config.lock_timeout), self.noticing():
            require(self.machine.state, [MachineState.PAUSED], "resume()")
            await self.machine.resume()
            await self.note(MachineState.RUNNING)

    async def publish_all(self, *, push: bool, before: PushOutcome | None = None) -> PushOutcome:
        """Everything in the vault, then on the remote. `before` is what a first round came to."""
        await self._tell_refusals()
        async with self.alone("stop()"), self.machine.quiet():
            await self.make_durable("auto-commit on stop")
            if push and self.config.auto_commit and self.branch.vault.remote is not None:
                outcome = await self.push()
                return before if before is not None and outcome.where == "nothing" else outcome
            refs = await self.branch.refs()
        tip = refs.get("tip")
        if tip == refs.get("base"):
            return PushOutcome("nothing", sha=tip)
        return PushOutcome("vault", sha=tip, ref=self.branch.ref("tip"))

    async def end(self) -> None:
        """The machine gone. Its work must be safe."""
        async with self.store.lock.exclusive(self.config.lock_timeout):
            await self.machine.stop()
            await self.note(MachineState.STOPPED)
        await self.tell(ev.Stopped())

    async def execute(self, command: str, options: RunOptions) -> ExecutionResult:
        """Runs a command as `GitMachine.run` promises: told, durable, and in the history."""
        call = secrets.token_hex(8)
        await self.tell(ev.CommandStarted(id=call, command=command))
        started = datetime.now(UTC)
        chosen = options.execute_options()
        limit = chosen.max_output_bytes
        keeper = OutputKeeper(self.store.output_path(call), DEFAULT_MAX_OUTPUT_BYTES if limit is None else limit)
        live = LiveOutput(self.store.live_path(call), self.secrets)
        kept = live.attach(chosen if limit is None else keeper.attach(chosen))
        async with live.following():
            if self.config.checkpoint == "command":
                result, looked = await self.branch.run(command, kept)
            else:
                result, looked = await self.machine.execute(command, kept), None
        result = replace(await keeper.finish(result), refused=tuple(await self._tell_refusals()))
        draft = self._placed(self.draft("command", command, result, started, options.actor), command, options)
        entry = await self._checkpoint_after(draft, looked)
        await self._tell_end(call, entry, result.exceeded)
        return result

    async def _tell_refusals(self) -> list[Refusal]:
        """Tells of the connections that the network policy refused since it last did."""
        if self.machine.capabilities.network != ALLOW_LIST:
            return []
        async with self.capturing():
            found = await Refusals(self.store.directory).fresh(self.machine)
        for refusal in found:
            await self.tell(ev.NetworkRefused(host=refusal.host, port=refusal.port, reason=refusal.reason))
        return found

    def draft(
        self, kind: str, command: str, result: ExecutionResult, started: datetime, actor: Actor | None = None
    ) -> Draft:
        """An entry for the history, with every secret taken out."""
        return Draft(
            kind=kind,
            command=redact(command, self.secrets),
            started=started,
            exit_code=result.exit_code,
            duration=result.duration,
            timed_out=result.timed_out,
            truncated=result.truncated,
            actor=actor or current_actor(),
            stdout=redact(result.stdout, self.secrets),
            stderr=redact(result.stderr, self.secrets),
            output_path=result.output_path,
        )

    def _placed(self, draft: Draft, command: str, options: RunOptions) -> Draft:
        """With what it takes to run the command again."""
        cwd = relative(options.cwd or self.record.repo_path, self.record.repo_path)
        names = tuple(sorted(options.env.keys() - self.config.env.keys()))
        whole = draft.command == command
        return replace(draft, stage=self.stage, whole=whole, cwd=cwd, env=names)

    async def _tell_end(self, call: str, entry: HistoryEntry, exceeded: Sequence[str] = ()) -> None:
        await self.tell(
            ev.CommandFinished(
                number=entry.number,
                exit_code=_KILLED if entry.exit_code is None else entry.exit_code,
                duration=entry.duration,
                timed_out=entry.timed_out,
                truncated=entry.truncated,
                exceeded=list(exceeded),
                id=call,
                entry=entry.sha,
            )
        )

    async def _checkpoint_after(self, draft: Draft, looked: Looked | None) -> HistoryEntry:
        async with self.capturing():
            if self.config.checkpoint != "command":
                return await self.branch.record(draft)
            try:
                entry = (await self.capture(draft, looked)).entry
                if self.machine.capabilities.shares_host_kernel:
                    await self.settle()  # elsewhere it would cost a request at each command
            except CaptureFailed as error:
                await self.branch.record(draft)
                error.add_note(f"the command itself ended with exit code {draft.exit_code}; history() has its output")
                raise
            except VaultError as error:
                error.add_note(f"the command itself ended with exit code {draft.exit_code}")
                raise
        assert entry is not None
        return entry

    # --- background commands ----------------------------------------------------------------------------

    async def spawn(self, command: str, options: RunOptions) -> Process:
        """Starts a background command that comes into the history when it has ended."""
        process = await self.machine.spawn(command, options.execute_options())
        actor = options.actor or current_actor()
        text = redact(command, self.secrets)
        known = BackgroundCommand(id=process.id, command=text, door=actor.door, call=actor.call)
        await self._background.add(known)
        await self.tell(ev.CommandStarted(id=process.id, command=command))
        return SessionProcess(process, self._ended)

    async def settle(self) -> None:
        """Writes what has ended in the background into the history. Expects the capture lock."""
        for known in await self._background.pending():
            try:
                process = await self.machine.process(known.id)
                if not await process.running():
                    await self._note_end(known, await process.wait())
            except ProcessNotFound:
                await self._note_end(known, None)

    async def _ended(self, process_id: str, result: ExecutionResult) -> None:
        async with self.capturing():
            for known in await self._background.pending():
                if known.id == process_id:
                    await self._note_end(known, result)

    async def _note_end(self, known: BackgroundCommand, result: ExecutionResult | None) -> None:
        """`result` is None for one that went with its machine."""
        actor = Actor(known.door, known.call)
        if result is None:
            draft = Draft("background", known.command, started=known.started, actor=actor)
        else:
            draft = self.draft("background", known.command, result, known.started, actor)
        if self.config.checkpoint == "off":
            entry: HistoryEntry | None = await self.branch.record(draft)
        else:
            entry = (await self.capture(draft)).entry
        assert entry is not None
        await self._tell_end(known.id, entry)
        await self._background.forget(known.id)

    @property
    def _background(self) -> BackgroundCommands:
        return BackgroundCommands(self.store.directory)

    async def end_after_failure(self) -> None:
        """The way out after an exception: the work made safe, then the machine gone, whatever else fails."""
        try:
            if self.machine.state in (MachineState.RUNNING, MachineState.PAUSED):
                await self.publish_all(push=True)
        except (PushRejected, PushHeld, RemoteUnreachable):
            pass  # told as an event; the vault has the work
        except GitError as error:
            await self.tell(ev.CaptureIncomplete(what="the machine is kept, its work is not safe", reason=str(error)))
            raise
        await self.end()
