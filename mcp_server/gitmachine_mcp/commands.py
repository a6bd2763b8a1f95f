"""The commands of a session that this server runs or has started: waited for, handed over, followed, interrupted."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field

from gitmachine.errors import ConfigurationError
from gitmachine.git_machine import GitMachine
from gitmachine.process import OutputChunk, Process
from gitmachine.records import CorruptRecord, Record
from gitmachine.types import ExecuteOptions, ExecutionResult, RunOptions
from gitmachine_mcp.crew import Crew, settled
from gitmachine_mcp.transcript import Transcript, whole_characters

State = Literal["running", "exited", "timed_out", "cancelled", "failed", "lost"]
Progress = Callable[[float, str], Awaitable[None]]

PROGRESS_INTERVAL_S = 0.25
HEARTBEAT_S = 5.0
INTERRUPT_GRACE_S = 3.0
_KEPT_COMMANDS = 100
_MARK = "GITMACHINE_COMMAND"

# Sends SIGINT to every process that has the mark of a command in its environment, as Ctrl-C would.
_INTERRUPT = (
    'for path in $(grep -lsF -- "GITMACHINE_COMMAND=$0" /proc/[0-9]*/environ); do '
    'pid=${path#/proc/}; kill -s INT "${pid%/environ}" 2>/dev/null; done; :'
)


class CommandNote(Record):
    """What the next server knows of a command."""

    id: str
    command: str
    started: float
    """Seconds since the epoch."""
    state: State = "running"
    exit_code: int | None = None
    duration: float | None = None
    notices: list[str] = Field(default_factory=list)
    """What the machine kept it from: a limit that was reached, a connection that was refused."""


class Command:
    """A command that `run` waits for, at least for a while."""

    def __init__(self, gm: GitMachine, crew: Crew, text: str, options: RunOptions, directory: Path) -> None:
        self.note = CommandNote(id=f"cmd_{secrets.token_hex(6)}", command=text, started=time.time())
        self.transcript = Transcript(directory / f"{self.note.id}.out")
        self._gm = gm
        self._path = directory / f"{self.note.id}.json"
        self._cancelled = False
        self._handed_over = False
        env = {**options.env, _MARK: self.note.id}
        add = self.transcript.add
        chosen = RunOptions(cwd=options.cwd, env=env, timeout=options.timeout, on_stdout=add, on_stderr=add)
        self.task = crew.start(self._run(text, chosen), f"command {self.note.id}")

    @property
    def id(self) -> str:
        return self.note.id

    async def _run(self, text: str, options: RunOptions) -> ExecutionResult:
        state: State = "failed"
        code: int | None = None
        notices: list[str] = []
        began = time.monotonic()
        try:
            result = await self._gm.run(text, options)
            state, code = ("timed_out" if result.timed_out else "exited"), result.exit_code
            notices = result.notices
            return result
        except asyncio.CancelledError:
            state = "cancelled"
            raise
        finally:
            ended = {"state": state, "exit_code": code, "duration": time.monotonic() - began, "notices": notices}
            self.note = self.note.model_copy(update=ended)
            if self._handed_over or self.transcript.spilled:
                await asyncio.shield(self._keep())

    async def wait(self, seconds: float, progress: Progress | None = None) -> None:
        """Until it ends, at most `seconds`; tells meanwhile how it goes. Raises nothing that the command does."""
        began = time.monotonic()
        told = 0.0, -1
        while not self.task.done() and (left := began + seconds - time.monotonic()) > 0:
            await asyncio.wait([self.task], timeout=min(left, PROGRESS_INTERVAL_S if progress else left))
            now, size = time.monotonic() - began, self.transcript.size
            if progress is not None and not self.task.done() and (size != told[1] or now - told[0] >= HEARTBEAT_S):
                told = now, size
                await progress(now, f"{now:.0f} s, {size} bytes of output: {self.transcript.last_line}")

    async def hand_over(self) -> None:
        """It goes on without its caller, who follows it by its id."""
        self._handed_over = True
        await self._keep()

    async def interrupt(self) -> None:
        """SIGINT to its processes; whatever has not ended after a few seconds is killed."""
        if not self.task.done():
            words = shlex.join(["/bin/sh", "-c", _INTERRUPT, self.id])
            await self._gm.machine.execute(words, ExecuteOptions(timeout=INTERRUPT_GRACE_S))
            await asyncio.wait([self.task], timeout=INTERRUPT_GRACE_S)
        await self.kill()

    async def kill(self) -> None:
        """Ends it with all that it started; they are gone when this returns."""
        if not self.task.done():
            self.task.cancel()
        await settled(self.task)

    async def output(self, after: int, max_bytes: int) -> tuple[bytes, int]:
        data = await self.transcript.read(after, max_bytes)
        return data, after + len(data)

    async def _keep(self) -> None:
        await self.transcript.persist()
        await asyncio.to_thread(_save, self.note, self._path)


class Commands:
    """The commands of one session."""

    def __init__(self, gm: GitMachine, crew: Crew, directory: Path) -> None:
        self._gm = gm
        self._crew = crew
        self._directory = directory
        self._commands: dict[str, Command] = {}

    def start(self, text: str, options: RunOptions) -> Command:
        for old in [c.id for c in self._commands.values() if c.task.done()][: len(self._commands) - _KEPT_COMMANDS]:
            del self._commands[old]
        command = Command(self._gm, self._crew, text, options, self._directory)
        self._commands[command.id] = command
        return command

    async def spawn(self, text: str, options: RunOptions) -> CommandNote:
        """In the background: nobody waits for it, and commit, pause and the others need not wait either."""
        process = await self._gm.spawn(text, options)
        note = CommandNote(id=f"bg_{process.id}", command=text, started=time.time())
        await asyncio.to_thread(_save, note, self._directory / f"{note.id}.json")
        return note

    def running(self) -> list[Command]:
        return [command for command in self._commands.values() if not command.task.done()]

    def ours(self, command_id: str) -> Command | None:
        return self._commands.get(command_id)

    async def background(self, command_id: str) -> Process:
        """Raises ProcessNotFound."""
        return await self._gm.machine.process(command_id.removeprefix("bg_"))

    async def notes(self, limit: int = 20) -> list[CommandNote]:
        """Those that this server runs and those that any server has kept, the newest first."""
        kept = {note.id: note for note in await asyncio.to_thread(_load_all, self._directory)}
        kept |= {command.id: command.note for command in self._commands.values()}
        return sorted((self._seen(note) for note in kept.values()), key=lambda n: -n.started)[:limit]

    async def kept(self, command_id: str) -> tuple[CommandNote, Transcript]:
        """A command of an earlier server. Raises ConfigurationError when there is none of that id."""
        name = command_id if command_id.isascii() and command_id.replace("_", "").isalnum() else "?"
        path = self._directory / f"{name}.json"
        try:
            note = await asyncio.to_thread(CommandNote.load, path)
        except FileNotFoundError:
            raise ConfigurationError(
                f"there is no command {command_id[:40]!r} in this session: `logs` without command_id lists them"
            ) from None
        return self._seen(note), Transcript.kept(path.with_suffix(".out"))

    async def kill_all(self) -> None:
        running = self.running()
        for command in running:
            command.task.cancel()
        if running:
            await asyncio.wait([command.task for command in running])

    def _seen(self, note: CommandNote) -> CommandNote:
        """A command cannot outlive the server that waits for it: killed together, nobody noted its end."""
        if note.state == "running" and note.id.startswith("cmd_") and note.id not in self._commands:
            return note.model_copy(update={"state": "lost"})
        return note


async def background_output(process: Process, cursor: str | None, max_bytes: int) -> tuple[bytes, str, bool]:
    """The next piece of both outputs, the cursor behind it, and whether that was all."""
    out_at, _, err_at = (cursor or "0.0").partition(".")
    if not (out_at.isdigit() and err_at.isdigit()):
        raise ConfigurationError(f"{cursor!r} is no cursor of this command: pass on `next_cursor` as you got it")
    out: OutputChunk = await process.output(int(out_at), "stdout", max(4, max_bytes // 2))
    err: OutputChunk = await process.output(int(err_at), "stderr", max(4, max_bytes // 2))
    return whole_characters(out.data) + whole_characters(err.data), f"{out.next}.{err.next}", out.done and err.done


def _save(note: CommandNote, path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    note.save(path)


def _load_all(directory: Path) -> list[CommandNote]:
    notes = []
    for path in directory.glob("*.json"):
        with suppress(CorruptRecord, FileNotFoundError):
            notes.append(CommandNote.load(path))
    return notes
