"""Session: the part of a GitMachine that exists once it is open. Locks, captures, commits, pushes and tells."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from gitmachine import events as ev
from gitmachine.config import SessionConfig
from gitmachine.errors import CaptureFailed, GitError, PushHeld, PushRejected, RemoteUnreachable, StateError, VaultError
from gitmachine.git.branch import Captured, CommitOutcome, SessionBranch
from gitmachine.machine import Machine
from gitmachine.observers import Observers
from gitmachine.output import OutputKeeper
from gitmachine.sessions import SessionRecord, SessionStore
from gitmachine.types import (
    DEFAULT_MAX_OUTPUT_BYTES,
    ExecutionResult,
    MachineState,
    PullOutcome,
    PushOutcome,
    RunOptions,
)

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

    # --- whose turn it is -------------------------------------------------------------------------------

    @asynccontextmanager
    async def sharing(self, call: str) -> AsyncIterator[None]:
        """Held by commands. One that was called before a pause began waits for the resume."""
        require(self.machine.state, [MachineState.RUNNING], call)
        deadline = time.monotonic() + self.config.lock_timeout
        while True:
            async with self.store.lock.shared(max(0.0, deadline - time.monotonic())):
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
            self._while_running(call),
            self._capturing(),
        ):
            yield

    @asynccontextmanager
    async def reading(self, call: str) -> AsyncIterator[None]:
        """Held by what only looks. Goes on beside running commands; a paused machine is treated as by `alone`."""
        require(self.machine.state, [MachineState.RUNNING, MachineState.PAUSED], call)
        async with self.store.lock.shared(self.config.lock_timeout):
            # Asked with the lock held: before, the machine may have been running only for somebody's operation.
            if self.machine.state is MachineState.RUNNING:
                async with self._capturing():
                    yield
                return
        async with self.alone(call):
            yield

    def _capturing(self) -> AbstractAsyncContextManager[None]:
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

    async def capture(self) -> Captured:
        """Files and history into the vault."""
        captured = await self.branch.capture()
        if captured.changed:
            await self.tell(ev.Checkpointed(sha=captured.checkpoint, tree=captured.tree))
        if captured.history.unreadable is not None:
            reason = captured.history.unreadable
            await self.tell(ev.CaptureIncomplete(what="the history of the machine's repository", reason=reason))
        if captured.trouble:
            await self.tell(ev.CaptureIncomplete(what="some files", reason=captured.trouble))
        return captured

    async def commit(self, message: str | None, paths: Sequence[str] | None = None) -> CommitOutcome:
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
        async with self.store.lock.exclusive(self.config.lock_timeout):
            require(self.machine.state, [MachineState.RUNNING], "pause()")
            async with self._capturing(), self.machine.quiet():
                await self.make_durable(message)
            await self.machine.pause()
            await self.note(MachineState.PAUSED)
            await self.tell(ev.Paused())

    async def thaw(self) -> None:
        async with self.store.lock.exclusive(self.config.lock_timeout):
            require(self.machine.state, [MachineState.PAUSED], "resume()")
            await self.machine.resume()
            await self.note(MachineState.RUNNING)

    async def publish_all(self, *, push: bool, before: PushOutcome | None = None) -> PushOutcome:
        """Everything in the vault, then on the remote. `before` is what a first round came to."""
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
        """Runs a command as `GitMachine.run` promises: numbered, told, durable and logged."""
        number = await asyncio.to_thread(self.store.next_number)
        await self.tell(ev.CommandStarted(number=number, command=command))
        started = time.time()
        chosen = options.execute_options()
        limit = chosen.max_output_bytes
        keeper = OutputKeeper(self.store.output_path(number), DEFAULT_MAX_OUTPUT_BYTES if limit is None else limit)
        result = await self.machine.execute(command, chosen if limit is None else keeper.attach(chosen))
        result = keeper.finish(result)
        await asyncio.to_thread(self.store.log_command, number, command, started, result)
        if self.config.checkpoint == "command":
            await self._checkpoint_after(result)
        await self.tell(
            ev.CommandFinished(
                number=number,
                exit_code=result.exit_code,
                duration=result.duration,
                timed_out=result.timed_out,
                truncated=result.truncated,
            )
        )
        return result

    async def _checkpoint_after(self, result: ExecutionResult) -> None:
        try:
            async with self._capturing():
                await self.capture()
        except (CaptureFailed, VaultError) as error:
            error.add_note(f"the command itself ended with exit code {result.exit_code}; its output is in logs()")
            raise

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
