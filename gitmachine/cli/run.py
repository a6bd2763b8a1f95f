"""`gitmachine run`: a command in a session, from nothing to a pushed branch."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gitmachine.cli.doing import as_data, say, tell
from gitmachine.cli.entering import Entered, enter, leave_as_found
from gitmachine.cli.entry import Entry
from gitmachine.cli.exits import Exit
from gitmachine.cli.interrupts import Interrupted, until_interrupted
from gitmachine.cli.pipes import Pipe
from gitmachine.cli.screen import QUIET_EVENTS, Screen, answer_json
from gitmachine.errors import GitMachineError
from gitmachine.types import ExecutionResult, MachineState, PushOutcome

STDOUT, STDERR = 1, 2


@dataclass(frozen=True, slots=True)
class Request:
    """The command and what is to become of the session afterwards."""

    entry: Entry
    words: Sequence[str]
    timeout: float | None = None
    message: str | None = None
    keep: bool = False
    push: bool = True
    as_json: bool = False

    @property
    def command(self) -> str:
        """One word is a shell's text as it is; several are a program and its arguments."""
        return self.words[0] if len(self.words) == 1 else shlex.join(self.words)


async def run(request: Request) -> int:
    """Everything that `gitmachine run` does; its exit code."""
    screen = Screen(silent=request.as_json, hide=QUIET_EVENTS)
    with screen.working("starting the session"):
        entered = await until_interrupted(enter(request.entry, screen.event))
    result, closed = await _execute(request, entered)
    if result is not None and result.timed_out:
        screen.warn(f"the command was ended after {request.timeout:g} s, with all it had started")
    for limit in result.limits if result is not None else ():
        screen.warn(limit)
    name = shlex.quote(entered.gm.session)
    failure: GitMachineError | None = None
    outcome: PushOutcome | None = None
    try:
        outcome = await until_interrupted(_leave(request, entered))
    except GitMachineError as error:
        failure = error
    except Interrupted:
        say(f"interrupted while the session was ended; `gitmachine stop {name}` tries again")
        raise
    if request.as_json:
        answer_json(_as_data(entered, result, outcome, failure))
    elif outcome is not None:
        screen.note(_closing(entered, outcome))
    code = _exit_code(result, failure, closed=closed)
    if failure is not None and entered.before is None:
        say(f"session {name} is still live: `gitmachine stop {name}` tries again, with --no-push it ends as it is")
    return code


async def _execute(request: Request, entered: Entered) -> tuple[ExecutionResult | None, bool]:
    """Runs the command, its output passed on as it comes; None, True when its reader went away."""
    gm = entered.gm
    running: asyncio.Task[ExecutionResult]
    closed: list[bool] = []

    def reader_gone() -> None:
        closed.append(True)
        running.cancel()

    out, err = (None, None) if request.as_json else (Pipe(STDOUT, reader_gone), Pipe(STDERR, reader_gone))
    running = asyncio.ensure_future(
        gm.run(
            request.command,
            timeout=request.timeout,
            on_stdout=out.write if out else None,
            on_stderr=err.write if err else None,
        )
    )
    try:
        return await until_interrupted(_result(running)), False
    except asyncio.CancelledError:
        if not closed:
            raise
        return None, True
    except Interrupted as interrupt:
        await _keep(entered, interrupt)
        raise
    finally:
        for pipe in (out, err):
            if pipe is not None:
                pipe.end()


async def _result(running: asyncio.Task[ExecutionResult]) -> ExecutionResult:
    return await running


async def _keep(entered: Entered, interrupt: Interrupted) -> None:
    """After Ctrl-C: the command's processes are gone; the work is made safe and the session waits, frozen."""
    gm = entered.gm
    say(f"interrupted by {interrupt.number.name}: the command was stopped, the work is kept")
    if entered.before is MachineState.RUNNING:
        await gm.status()  # which brings the working tree into the vault
        await gm.detach()
        say(f"session {gm.session} goes on: `gitmachine run --session {shlex.quote(gm.session)} -- …`")
        return
    await gm.pause()
    await gm.detach()
    name = shlex.quote(gm.session)
    say(f"session {gm.session} is paused: `gitmachine run --session {name} -- …` or `gitmachine resume {name}` goes on")
    say(f"`gitmachine stop {name}` commits, pushes and ends it")


async def _leave(request: Request, entered: Entered) -> PushOutcome | None:
    gm = entered.gm
    if request.message is not None:
        await gm.commit(request.message)
    if entered.before is not None:
        await leave_as_found(entered)
        return None
    if request.keep:
        await gm.detach()
        return None
    return await gm.stop(push=request.push)


def _closing(entered: Entered, outcome: PushOutcome) -> str:
    session = entered.gm.session
    match outcome.where:
        case "nothing":
            return f"session {session}: nothing was changed, so nothing was pushed"
        case "vault":
            return f"session {session}: the work is in the vault; `gitmachine resume {shlex.quote(session)}` goes on"
        case _:
            return f"session {session}: pushed to {entered.gm.record.repository}"


def _as_data(
    entered: Entered, result: ExecutionResult | None, outcome: PushOutcome | None, failure: GitMachineError | None
) -> dict[str, Any]:
    gm = entered.gm
    data: dict[str, Any] = {
        "session": gm.session,
        "repository": gm.record.repository,
        "machine": gm.id,
        "state": str(gm.state),
    }
    if result is not None:
        names = ("exit_code", "stdout", "stderr", "timed_out", "truncated", "duration", "output_path")
        data |= {name: getattr(result, name) for name in names} | {"exceeded": list(result.exceeded)}
        data["refused"] = [asdict(refusal) for refusal in result.refused]
    if outcome is not None:
        data["push"] = {name: getattr(outcome, name) for name in ("where", "sha", "ref", "reason")}
    if failure is not None:
        data["error"] = as_data(failure)
    return data


def _exit_code(result: ExecutionResult | None, failure: GitMachineError | None, *, closed: bool) -> int:
    """The command's own; a failure beside it shows only when the command itself did well."""
    code = tell(failure) if failure is not None else 0
    if closed:
        return Exit.CLOSED_PIPE
    return (result.exit_code if result is not None else 0) or code
