"""`run`, `logs` and `interrupt`."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Annotated

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from gitmachine.git.chain import HistoryEntry
from gitmachine.process import Process
from gitmachine.types import RunOptions
from gitmachine_mcp.commands import INTERRUPT_GRACE_S, Command, CommandNote, background_output
from gitmachine_mcp.desk import OpenSession
from gitmachine_mcp.limits import MAX_CHARS, head_and_tail, number_of, room
from gitmachine_mcp.models import CommandBrief, Interrupted, Output, RunOutcome, Step
from gitmachine_mcp.tools.base import SessionArgument, Tools, answer
from gitmachine_mcp.transcript import Transcript

_READ_BYTES = 4 * MAX_CHARS
_LONG_OUTPUT_BYTES = 8 * 1024 * 1024
_POLL_S = 0.3
_LISTED_STEPS = 50

MaxChars = Annotated[int, Field(ge=200, le=MAX_CHARS, description="Characters of output in the answer.")]


class RunningTools(Tools):
    async def run(
        self,
        command: Annotated[str, Field(description="A shell command line; it runs in bash, in the checkout.")],
        ctx: Context,
        session: SessionArgument = None,
        cwd: Annotated[str | None, Field(description="Directory, relative to the checkout.")] = None,
        env: Annotated[dict[str, str] | None, Field(description="Added to the command's environment.")] = None,
        timeout_s: Annotated[float, Field(gt=0, description="After that the command is killed.")] = 600.0,
        wait_s: Annotated[
            float, Field(ge=0, le=300, description="How long to wait for its end; 0 starts it in the background.")
        ] = 45.0,
        max_chars: MaxChars = 20_000,
    ) -> Annotated[CallToolResult, RunOutcome]:
        """Run a shell command in the session's checkout and get its exit code and output.

        A non-zero exit code is a result, not an error. If the command has not ended after wait_s, it goes on and you
        get a command_id: follow it with `logs`, end it with `interrupt`. Use wait_s=0 for servers and watchers: they
        live on in the background, and commit, pause and push do not wait for them. There is no network unless the
        operator allowed it, and no terminal. Every command leaves a checkpoint: work is not lost if something fails.
        """
        limits = self.desk.options
        found = await self.session(session, awake=True)
        options = RunOptions(cwd=cwd, env=env or {}, timeout=min(timeout_s, limits.run_timeout_s))
        if wait_s == 0:
            note = await found.commands.spawn(command, options)
            return _outcome(found, note, "", 0, "0.0", max_chars)
        running = found.commands.start(command, options)

        async def progress(done: float, words: str) -> None:
            await ctx.report_progress(done, None, words)

        try:
            await running.wait(min(wait_s, limits.run_wait_s), progress)
        except asyncio.CancelledError:
            await running.kill()
            raise
        if running.task.done():
            running.task.result()
        else:
            await running.hand_over()
        return await _of(found, running, max_chars)

    async def logs(
        self,
        ctx: Context,
        session: SessionArgument = None,
        command_id: Annotated[str | None, Field(description="From `run`. Without it the commands are listed.")] = None,
        cursor: Annotated[str | None, Field(description="`next_cursor` of the answer before; none: begin.")] = None,
        max_chars: MaxChars = 20_000,
        wait_s: Annotated[
            float, Field(ge=0, le=45, description="If there is nothing new, wait so long for more.")
        ] = 0.0,
    ) -> Annotated[CallToolResult, Output]:
        """Read a command's output piece by piece, or wait for more of it; without command_id list what was done.

        Pass the `next_cursor` of each answer to the next call until `more` is false.
        """
        found = await self.session(session, awake=True)
        if command_id is None:
            notes = await found.commands.notes()
            steps = [_step(entry) for entry in await found.gm.history(last=_LISTED_STEPS)]
            lines = [f"{note.id}  {_how(note)}  {note.command[:100]}" for note in notes]
            lines += [f"step {s.number}: {s.kind} {s.command[:100]} ({s.files_changed} files changed)" for s in steps]
            data = _output(found, None, "", None, more=False)
            data.commands, data.history = [_brief(note) for note in notes], steps
            return answer("\n".join(lines) or "No commands yet.", data)
        if command_id.startswith("bg_"):
            return await self._background_logs(found, command_id, cursor, max_chars, wait_s)
        if (running := found.commands.ours(command_id)) is not None:
            if number_of(cursor) >= running.transcript.size:
                await _more_or_end(running, number_of(cursor), wait_s)
            return await _piece(found, running.note, running.transcript, number_of(cursor), max_chars)
        note, transcript = await found.commands.kept(command_id)
        return await _piece(found, note, transcript, number_of(cursor), max_chars)

    async def interrupt(
        self,
        command_id: Annotated[str, Field(description="Of a running command, from `run`.")],
        ctx: Context,
        session: SessionArgument = None,
        kill: Annotated[bool, Field(description="Kill at once, with no chance to clean up.")] = False,
    ) -> Annotated[CallToolResult, Interrupted]:
        """Interrupt a running command as Ctrl-C does; if it has not ended after 3 seconds, it is killed with all
        that it started. Interrupting a command that has ended does nothing.
        """
        found = await self.session(session, awake=True)
        if command_id.startswith("bg_"):
            process = await found.commands.background(command_id)
            note = await _interrupt_background(process, command_id, kill=kill)
        elif (running := found.commands.ours(command_id)) is not None:
            await (running.kill() if kill else running.interrupt())
            note = running.note
        else:
            note, _ = await found.commands.kept(command_id)
        data = Interrupted(session=found.handle, command_id=command_id, state=note.state, exit_code=note.exit_code)
        return answer(f"{command_id}: {_how(note)}", data)

    async def _background_logs(
        self, found: OpenSession, command_id: str, cursor: str | None, max_chars: int, wait_s: float
    ) -> CallToolResult:
        process = await found.commands.background(command_id)
        deadline = time.monotonic() + wait_s
        while True:
            data, after, done = await background_output(process, cursor, max_chars)
            if data or done or time.monotonic() >= deadline:
                break
            await asyncio.sleep(_POLL_S)
        text = data.decode("utf-8", "replace")
        note = await _background_note(process, command_id, running=not done)
        result = _output(found, note, text, after, more=not done)
        return answer(f"[{_how(note)}]\n{text}", result)


async def _more_or_end(command: Command, after: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not command.task.done() and command.transcript.size <= after and (left := deadline - time.monotonic()) > 0:
        await asyncio.wait([command.task], timeout=min(left, _POLL_S))


async def _of(found: OpenSession, command: Command, max_chars: int) -> CallToolResult:
    transcript = command.transcript
    if transcript.size <= _LONG_OUTPUT_BYTES:
        data = await transcript.read(0, transcript.size)
    else:  # only its two ends are wanted
        data = await transcript.read(0, _LONG_OUTPUT_BYTES)
        data += await transcript.read(transcript.size - _READ_BYTES, _READ_BYTES)
    text, offset = head_and_tail(data, max_chars)
    return _outcome(found, command.note, text, transcript.size, str(offset), max_chars)


def _outcome(
    found: OpenSession, note: CommandNote, text: str, size: int, cursor: str, max_chars: int
) -> CallToolResult:
    data = RunOutcome(
        session=found.handle,
        command_id=note.id,
        state=note.state,
        exit_code=note.exit_code,
        output=text,
        total_bytes=size,
        truncated=cursor != "0.0" and int(cursor) < size,
        next_cursor=cursor,
        notices=note.notices,
        duration_s=round(note.duration if note.duration is not None else time.time() - note.started, 3),
    )
    if note.state == "running":
        said = f"[still running as {note.id}: follow it with `logs`, end it with `interrupt`]"
    else:
        said = f"[{_how(note)}]"
    head = "".join(f"{line}\n" for line in (said, *(f"[{notice}]" for notice in note.notices)))
    return answer(head + text[: max(0, MAX_CHARS - len(head))], data)


async def _piece(
    found: OpenSession, note: CommandNote, transcript: Transcript, after: int, max_chars: int
) -> CallToolResult:
    raw = await transcript.read(after, min(_READ_BYTES, 4 * max_chars))
    text = raw.decode("utf-8", "replace")
    fitting = room(text, max_chars)
    if fitting < len(text):
        text = text[:fitting]
        end = after + len(text.encode())
    else:
        end = after + len(raw)
    running = note.state == "running"
    data = _output(found, note, text, str(end), more=running or end < transcript.size)
    rest = f", {transcript.size - end} bytes more from cursor {end}" if end < transcript.size else ""
    return answer(f"[{_how(note)}{rest}]\n{text}", data)


def _output(
    found: OpenSession,
    note: CommandNote | None,
    text: str,
    cursor: str | None,
    *,
    more: bool,
) -> Output:
    return Output(
        session=found.handle,
        command_id=note.id if note else None,
        state=note.state if note else None,
        exit_code=note.exit_code if note else None,
        output=text,
        next_cursor=cursor,
        more=more,
        commands=[],
        history=[],
    )


def _step(entry: HistoryEntry) -> Step:
    return Step(
        number=entry.number,
        kind=entry.kind,
        command=entry.command[:500],
        exit_code=entry.exit_code,
        files_changed=entry.changed,
    )


def _brief(note: CommandNote) -> CommandBrief:
    return CommandBrief(command_id=note.id, command=note.command[:500], state=note.state, exit_code=note.exit_code)


def _how(note: CommandNote) -> str:
    match note.state:
        case "exited":
            return f"exit code {note.exit_code}"
        case "timed_out":
            return "killed at its timeout, exit code 124"
        case "lost":
            return "killed with the server that ran it"
        case state:
            return state


async def _interrupt_background(process: Process, command_id: str, *, kill: bool) -> CommandNote:
    if not kill:
        await process.interrupt()
        with suppress(TimeoutError):
            await process.wait(timeout=INTERRUPT_GRACE_S)
    await process.kill()
    return await _background_note(process, command_id, running=False)


async def _background_note(process: Process, command_id: str, *, running: bool) -> CommandNote:
    note = CommandNote(id=command_id, command="", started=0.0)
    if running and await process.running():
        return note
    try:
        result = await process.wait(timeout=2.0)
    except TimeoutError:  # its children hold its output open
        return note
    state = "timed_out" if result.timed_out else "exited"
    return note.model_copy(update={"state": state, "exit_code": result.exit_code})
