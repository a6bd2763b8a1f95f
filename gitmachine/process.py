"""Background commands: started now, read, fed and ended later, by this program or another.

Built on `Machine.execute` alone, so every provider has them. What a job is made of inside the machine is told
in `_job`. Limits: the machine needs a Linux `/proc`, `setsid` and `mkfifo`; a process that has changed its
session, lost its parent and emptied its environment is beyond the reach of `kill`.
"""

from __future__ import annotations

import base64
import codecs
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gitmachine import _job
from gitmachine.errors import ConfigurationError, MachineError, ProcessNotFound, StateError
from gitmachine.types import DEFAULT_MAX_OUTPUT_BYTES, ExecuteOptions, ExecutionResult

if TYPE_CHECKING:
    from gitmachine.machine import Machine

OUTPUT_CHUNK_BYTES = 64 * 1024
CONTROL_LIMIT_S = 30.0
"""How long the machine may take over a request that does not itself wait for the command."""

_ID = re.compile(r"[0-9a-f]{16}")
_FILES = {"stdout": "out", "stderr": "err"}


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """A piece of what a background command wrote."""

    data: bytes
    text: str
    """`data` decoded as UTF-8; a character that is only half written yet is left for the next piece."""
    next: int
    """The cursor to ask for the next piece with."""
    done: bool
    """The command has ended and this was the last piece."""


class Process:
    """A background command. Made by `Machine.spawn` and `Machine.process`."""

    def __init__(
        self, machine: Machine, process_id: str, max_output_bytes: int | None = DEFAULT_MAX_OUTPUT_BYTES
    ) -> None:
        self._machine = machine
        self._id = process_id
        self._max_output_bytes = max_output_bytes

    @property
    def id(self) -> str:
        """Good for `Machine.process(id)`, also from another program, for as long as the machine lives."""
        return self._id

    async def output(
        self,
        after: int = 0,
        channel: Literal["stdout", "stderr"] = "stdout",
        max_bytes: int = OUTPUT_CHUNK_BYTES,
    ) -> OutputChunk:
        """What was written from the byte offset `after` on, at most `max_bytes` (at least 4). Does not wait."""
        if channel not in _FILES or after < 0 or max_bytes < 4:
            raise ConfigurationError(
                f"output(after={after}, channel={channel!r}, max_bytes={max_bytes}): a cursor is not negative, "
                "the channel is 'stdout' or 'stderr', a piece has at least 4 bytes"
            )
        result = await self._control(_job.output(self._id, _FILES[channel], after, max_bytes))
        header, _, encoded = result.stdout.partition("\n")
        ended, size = header.split()
        return _chunk(base64.b64decode(encoded), after, int(size), ended == "1")

    async def write_stdin(self, data: str | bytes) -> None:
        """Feeds the command; returns when it or its pipe has taken all. Raises StateError when it takes none."""
        content = data.encode() if isinstance(data, str) else data
        result = await self._machine.execute(_job.write(self._id), ExecuteOptions(stdin=content))
        if result.exit_code == _job.NO_STDIN:
            raise StateError(
                f"background command {self._id} takes no more input: its standard input is closed or it has "
                "ended; output() has what it wrote"
            )
        self._check(result)

    async def close_stdin(self) -> None:
        """Lets the command see the end of its input. Closing it twice does nothing."""
        await self._control(_job.close(self._id))

    async def interrupt(self) -> None:
        """Sends SIGINT to its process group, as Ctrl-C does. Does nothing when it has ended."""
        await self._control(_job.interrupt(self._id))

    async def kill(self) -> None:
        """Kills it and all its descendants; they are gone when this returns. Its exit code is then 137."""
        await self._control(_job.kill(self._id))

    async def running(self) -> bool:
        """Whether the command itself, not just a child it left behind, still runs."""
        result = await self._control(_job.running(self._id), 0, 1)
        return result.exit_code == 0

    async def wait(self, timeout: float | None = None) -> ExecutionResult:
        """Its end, with the head and tail of its output.

        Raises TimeoutError after `timeout` seconds; the command itself goes on.
        """
        options = ExecuteOptions(timeout=timeout, max_output_bytes=self._max_output_bytes)
        result = await self._machine.execute(_job.wait(self._id), options)
        if result.timed_out:
            raise TimeoutError(f"background command {self._id} still runs after {timeout} s; wait() again or kill() it")
        self._check(result)
        return _ending(result)

    async def _control(self, script: str, *expected: int) -> ExecutionResult:
        options = ExecuteOptions(timeout=CONTROL_LIMIT_S, max_output_bytes=None)
        result = await self._machine.execute(script, options)
        self._check(result, *expected)
        return result

    def _check(self, result: ExecutionResult, *expected: int) -> None:
        if result.exit_code in (expected or (0,)):
            return
        if result.exit_code == _job.NO_SUCH_JOB:
            raise ProcessNotFound(
                f"no background command {self._id!r} in machine {self._machine.id}; spawn() gives the ids"
            )
        raise MachineError(
            f"background command {self._id} in machine {self._machine.id} could not be reached: "
            f"exit code {result.exit_code}, {result.stderr.strip() or 'no message'}"
        )


async def spawn(machine: Machine, command: str, options: ExecuteOptions) -> Process:
    """Starts `command` in the background and returns once it runs.

    `options.timeout` ends it, whoever is still there to see it. Standard input stays open for `write_stdin`
    unless `options.stdin` holds all of it. Raises ConfigurationError for callbacks: output is asked for.
    """
    _check_spawn(command, options)
    process_id = uuid.uuid4().hex[:16]
    limit = ExecuteOptions(timeout=CONTROL_LIMIT_S)
    results = []
    if options.stdin is not None:
        results.append(await machine.execute(_job.keep_stdin(process_id), limit.with_(stdin=options.stdin)))
    run = _job.run(process_id, command, options.env).encode("utf-8", "surrogateescape")
    script = _job.spawn(process_id, options.timeout)
    results.append(await machine.execute(script, limit.with_(stdin=run, cwd=options.cwd)))
    for result in results:
        if result.exit_code != 0:
            raise MachineError(
                f"no background command could be started in machine {machine.id}: "
                f"{result.stderr.strip() or f'exit code {result.exit_code}'}"
            )
    return Process(machine, process_id, options.max_output_bytes)


async def find(machine: Machine, process_id: str) -> Process:
    """A background command by its id. Raises ProcessNotFound."""
    process = Process(machine, process_id)
    if not _ID.fullmatch(process_id):
        raise ProcessNotFound(f"{process_id!r} is not the id of a background command; spawn() gives the ids")
    await process._control(_job.find(process_id))
    return process


def _check_spawn(command: str, options: ExecuteOptions) -> None:
    if options.on_stdout is not None or options.on_stderr is not None:
        raise ConfigurationError("a background command has no output callbacks; read it with output()")
    if "\0" in command:
        raise ConfigurationError("a command cannot hold a NUL character")
    for name, value in options.env.items():
        if not name or "=" in name or "\0" in name + value:
            raise ConfigurationError(f"environment variable {name!r} is not a name, or its value holds a NUL")


def _chunk(data: bytes, after: int, size: int, ended: bool) -> OutputChunk:
    last = ended and after + len(data) >= size
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=last)
    kept = data[: len(data) - len(decoder.getstate()[0])]
    return OutputChunk(data=kept, text=text, next=after + len(kept), done=last)


def _ending(result: ExecutionResult) -> ExecutionResult:
    header, _, stdout = result.stdout.partition("\n")
    if header == "lost":  # its supervisor was killed, so nobody saw the command end
        return ExecutionResult(exit_code=137, stdout=stdout, stderr=result.stderr, truncated=result.truncated)
    code, late, started, ended = header.split()
    return ExecutionResult(
        exit_code=int(code),
        stdout=stdout,
        stderr=result.stderr,
        timed_out=late == "1",
        truncated=result.truncated,
        duration=float(ended) - float(started),
    )
