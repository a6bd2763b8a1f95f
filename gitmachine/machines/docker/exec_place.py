"""An `exec` a command, for containers whose image has no python3 for the agent.

What reaches a shell unread is the caller's command alone; our own scripts are constant, and values are their arguments.
Every process of a command inherits a mark in its environment, by which it is found when the tree is killed; one that
empties its environment is beyond the reach of `kill`. Needs `sh`, `grep`, `head` and `cat`, all of which busybox has.
"""

from __future__ import annotations

import asyncio
import errno
import os
import posixpath
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gitmachine.errors import ConfigurationError, FileError, MachineError
from gitmachine.machines.command import Channel, CommandStream, collect
from gitmachine.machines.docker.exec_stream import begun, write
from gitmachine.types import ExecuteOptions, ExecutionResult

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer
    from aiodocker.stream import Message, Stream

Opened = Callable[[], AbstractAsyncContextManager["DockerContainer"]]

_MARK = "GITMACHINE_EXEC"
_LOOK_EVERY_S = 0.1
_CHUNK_BYTES = 64 * 1024

# $1 directory, $2 what is said when it cannot be entered, $3 bytes of input, $4 the command
_RUN = """
cd -- "$1" 2>/dev/null || { [ -e "$1" ] && printf '%s 20' "$2" >&2 || printf '%s 2' "$2" >&2; exit 1; }
shell=/bin/sh
[ ! -x /bin/bash ] || shell=/bin/bash
if [ "$3" = 0 ]; then exec "$shell" -c "$4" </dev/null; fi
head -c "$3" | "$shell" -c "$4"
"""
_KILL = """
passes=0
while [ "$passes" -lt 200 ]; do
  found=
  for path in $(grep -lzsF -- "$1" /proc/[0-9]*/environ); do
    path=${path#/proc/}
    if kill -s KILL "${path%/environ}" 2>/dev/null; then found=1; fi
  done
  [ -n "$found" ] || exit 0
  passes=$((passes + 1))
done
"""
_LOOK_AT = 'if [ -d "$1" ]; then exit 21; elif [ ! -e "$1" ]; then exit 2; fi; '
_READ = _LOOK_AT + 'cat <"$1"'
_WRITE = (
    'if [ -d "$1" ]; then exit 21; fi; '
    'case $1 in */*) mkdir -p -- "${1%/*}" || exit 5;; esac; head -c "$2" >"$1" || exit 5'
)
_APPEND = 'head -c "$2" >>"$1" || exit 5'
_LIST = (
    'if [ ! -e "$1" ]; then exit 2; elif [ ! -d "$1" ]; then exit 20; fi; cd -- "$1" || exit 5; '
    'for name in .[!.]* ..?* *; do if [ -e "$name" ] || [ -L "$name" ]; then printf "%s\\0" "$name"; fi; done'
)
_MAKE_DIR = 'mkdir -p -- "$1" || exit 5'
_REMOVE = 'if [ ! -e "$1" ] && [ ! -L "$1" ]; then exit 2; fi; rm -rf -- "$1" || exit 5'
_EXISTS = '[ -e "$1" ] || [ -L "$1" ] || exit 2'


@dataclass(frozen=True, slots=True)
class ExecPlace:
    """A container without an agent."""

    opened: Opened
    environment: Mapping[str, str]
    home: str

    async def execute(self, command: str, options: ExecuteOptions) -> ExecutionResult:
        """Runs a command and waits for its end. Raises FileNotFoundError when there is no such cwd."""
        cwd = posixpath.join(self.home, options.cwd) if options.cwd else self.home
        if "\0" in command + cwd:
            raise ConfigurationError("neither a command nor a directory can hold a NUL character")
        stdin = options.stdin.encode() if isinstance(options.stdin, str) else options.stdin or b""
        mark = secrets.token_hex(8)
        argv = ["/bin/sh", "-c", _RUN, "sh", cwd, mark, str(len(stdin)), command]
        stream = await _Exec.start(self.opened, argv, {**self.environment, **options.env}, stdin, mark)
        result = await collect(stream, options)
        said, _, number = result.stderr.partition(" ")
        if result.exit_code == 1 and said == mark:
            raise OSError(int(number), "this working directory cannot be entered in the machine", cwd)
        return result

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Nothing can be stopped here without an agent."""
        yield

    async def read_bytes(self, path: str) -> bytes:
        return await self._script(_READ, path)

    async def write_bytes(self, path: str, content: bytes | AsyncIterator[bytes]) -> None:
        if isinstance(content, bytes):
            await self._script(_WRITE, path, content)
            return
        await self._script(_WRITE, path, b"")
        async for chunk in content:
            await self._script(_APPEND, path, chunk)

    async def list_files(self, path: str) -> list[str]:
        answer = await self._script(_LIST, path)
        return sorted(os.fsdecode(name) for name in answer.split(b"\0") if name)

    async def make_dir(self, path: str) -> None:
        await self._script(_MAKE_DIR, path)

    async def remove(self, path: str) -> None:
        await self._script(_REMOVE, path)

    async def exists(self, path: str) -> bool:
        try:
            await self._script(_EXISTS, path)
        except FileNotFoundError:
            return False
        return True

    async def _script(self, script: str, path: str, stdin: bytes | None = None) -> bytes:
        where = posixpath.join(self.home, path)
        argv = ["/bin/sh", "-c", script, "sh", where, str(len(stdin or b""))]
        stream = await _Exec.start(self.opened, argv, self.environment, stdin or b"", secrets.token_hex(8))
        out, err = bytearray(), bytearray()
        try:
            async for channel, data in stream.output():
                (out if channel == "stdout" else err).extend(data)
            code = await stream.exit_code()
        finally:
            await stream.aclose()
        _raise_for(code, path, err.decode("utf-8", "replace").strip())
        return bytes(out)


class _Exec(CommandStream):
    """One `exec` of the engine."""

    kill_limit_s: ClassVar[float] = 10.0

    def __init__(self, opened: Opened, stack: AsyncExitStack, execution: Any, stream: Stream, mark: str) -> None:
        self._opened = opened
        self._stack = stack
        self._execution = execution
        self._stream = stream
        self._mark = mark
        self._feeding: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls, opened: Opened, argv: Sequence[str], environment: Mapping[str, str], stdin: bytes, mark: str
    ) -> _Exec:
        """Raises MachineError when the engine refuses."""
        async with AsyncExitStack() as stack:
            container = await stack.enter_async_context(opened())
            execution = await container.exec(
                argv, stdin=bool(stdin), environment={**environment, _MARK: mark}, workdir="/"
            )
            stream = await stack.enter_async_context(begun(execution))
            made = cls(opened, stack.pop_all(), execution, stream, mark)
        if stdin:
            made._feeding = asyncio.create_task(made._feed(stdin))
        return made

    async def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        # The stream stays open for as long as any child of the command has it: the engine is asked, too.
        reading: asyncio.Task[Message | None] | None = None
        ended = False
        try:
            while True:
                reading = reading or asyncio.create_task(self._stream.read_out())
                await asyncio.wait([reading], timeout=_LOOK_EVERY_S)
                if reading.done():
                    message = reading.result()
                    reading = None
                    if message is None:
                        return
                    yield "stdout" if message.stream == 1 else "stderr", message.data
                elif ended:
                    return
                else:
                    ended = not (await self._execution.inspect())["Running"]
        finally:
            if reading is not None:
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await reading

    async def exit_code(self) -> int:
        told = await self._execution.inspect()
        while told["Running"]:
            await asyncio.sleep(_LOOK_EVERY_S / 10)
            told = await self._execution.inspect()
        if not told.get("Pid"):
            raise MachineError("the engine could not start the command in the machine; its own log says why")
        return int(told["ExitCode"])

    async def kill(self) -> None:
        async with self._opened() as container:
            execution = await container.exec(["/bin/sh", "-c", _KILL, "sh", f"{_MARK}={self._mark}"])
            async with begun(execution) as stream:
                while await stream.read_out() is not None:
                    pass

    async def aclose(self) -> None:
        if self._feeding is not None:
            self._feeding.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await self._feeding
            self._give_up_on_input()
        await self._stack.aclose()

    def _give_up_on_input(self) -> None:
        # Closing would wait for what nobody reads any more; aiodocker has no word for dropping it.
        response = self._stream._resp
        transport = response.connection.transport if response and response.connection else None
        if isinstance(transport, asyncio.WriteTransport) and transport.get_write_buffer_size():
            transport.abort()

    async def _feed(self, data: bytes) -> None:
        for start in range(0, len(data), _CHUNK_BYTES):
            await write(self._stream, data[start : start + _CHUNK_BYTES])


def _raise_for(code: int, path: str, said: str) -> None:
    match code:
        case 0:
            return
        case errno.ENOENT:
            raise FileNotFoundError(errno.ENOENT, "no such file in the machine", path)
        case errno.EISDIR:
            raise IsADirectoryError(errno.EISDIR, "is a directory in the machine", path)
        case errno.ENOTDIR:
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory in the machine", path)
    raise FileError(f"{path!r} in the machine: {said or f'exit code {code}'}")
