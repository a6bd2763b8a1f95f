"""Running commands and touching files in a sandbox through its agent."""

from __future__ import annotations

import errno
import os
import posixpath
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gitmachine.errors import ConfigurationError, FileError, MachineError, MachineLost
from gitmachine.machines.command import CommandStream, collect
from gitmachine.machines.local.client import (
    MAX_FIELD_BYTES,
    Address,
    Job,
    RefusedError,
    ask,
    ask_for_bytes,
    connect,
)
from gitmachine.types import ExecuteOptions, ExecutionResult

_MAX_ENTRY_BYTES = 128 * 1024 - 1
"""The kernel's bound on one environment entry (execve(2), MAX_ARG_STRLEN)."""


class Input(Protocol):
    """The writing end of a command's standard input."""

    @property
    def broken(self) -> bool: ...

    def feed_and_close(self, data: bytes) -> None: ...

    async def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class AgentPlace(ABC):
    """What an agent can be asked for, over whatever way leads to it. All calls raise MachineLost when it has ended."""

    environment: Mapping[str, str]
    home: str

    @abstractmethod
    async def start(self, fields: Sequence[bytes], *, stdin: bool) -> tuple[CommandStream, Input | None]:
        """Sends a request that has pipes. `exit_code` of the stream raises RefusedError when nothing was started."""

    async def execute(self, command: str, options: ExecuteOptions) -> ExecutionResult:
        """Runs a command and waits for its end. Raises FileNotFoundError when there is no such cwd."""
        cwd = posixpath.join(self.home, options.cwd) if options.cwd else self.home
        environment = {**self.environment, **options.env}
        entries = [_entry(name, value) for name, value in environment.items()]
        fields = [b"exec", _bytes(cwd, "cwd"), _bytes(command, "the command"), *entries]
        stdin = options.stdin.encode() if isinstance(options.stdin, str) else options.stdin
        stream, into = await self.start(fields, stdin=bool(stdin))
        if into is not None and stdin:
            into.feed_and_close(stdin)
        try:
            return await collect(stream, options)
        except RefusedError as error:
            raise _refused(error, cwd) from error

    async def read_bytes(self, path: str) -> bytes:
        return await self._call(path, b"read")

    async def write_bytes(self, path: str, content: bytes | AsyncIterator[bytes]) -> None:
        await self._call(path, b"write", content)

    async def list_files(self, path: str) -> list[str]:
        answer = await self._call(path, b"list")
        return sorted(os.fsdecode(name) for name in answer.split(b"\0")) if answer else []

    async def make_dir(self, path: str) -> None:
        await self._call(path, b"make_dir")

    async def remove(self, path: str) -> None:
        await self._call(path, b"remove")

    async def exists(self, path: str) -> bool:
        try:
            await self._call(path, b"exists")
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    async def _call(self, path: str, function: bytes, content: bytes | AsyncIterator[bytes] | None = None) -> bytes:
        stream, into = await self.start([b"call", function, _bytes(path, "the path")], stdin=content is not None)
        try:
            if into is not None and content is not None:
                await _pour(into, content)
            out, err = bytearray(), bytearray()
            async for channel, data in stream.output():
                (out if channel == "stdout" else err).extend(data)
            try:
                status = await stream.exit_code()
            except RefusedError as error:
                raise _refused(error, path) from error
        finally:
            # Whatever has not ended by then is killed by the agent, for we have hung up.
            await stream.aclose()
        _raise_for(status, path, bytes(err))
        return bytes(out)


@dataclass(frozen=True, slots=True)
class SandboxPlace(AgentPlace):
    """A live sandbox on this host, by its agent's socket."""

    address: Address
    environment: Mapping[str, str]
    home: str
    why_lost: Callable[[], MachineLost] | None = None
    """What to say of a sandbox that has ended, where somebody knows more than that."""

    async def start(self, fields: Sequence[bytes], *, stdin: bool) -> tuple[CommandStream, Input | None]:
        try:
            job = await Job.start(self.address, fields, stdin=stdin)
            return job, job.stdin
        except (ConnectionError, FileNotFoundError) as error:
            raise self._lost() from error

    async def connect(self) -> socket.socket:
        """A connection for an operation of one's own."""
        try:
            return await connect(self.address)
        except (ConnectionError, FileNotFoundError) as error:
            raise self._lost() from error

    def _lost(self) -> MachineLost:
        if self.why_lost is not None:
            return self.why_lost()
        return MachineLost(
            f"machine {self.address.directory.name} has ended; its files were in {self.address.directory}"
        )

    async def ping(self) -> None:
        """Returns when the agent answers."""
        await self.tell([b"ping"], b"P")

    async def marks(self, directory: str, names: Sequence[str]) -> bytes:
        """See `gitmachine.machine.Observer`."""
        return await self._asked("marks", directory, *names)

    async def tree_marks(self, directory: str) -> bytes:
        """See `gitmachine.machine.Observer`."""
        return await self._asked("tree_marks", directory)

    async def _asked(self, *fields: str) -> bytes:
        connection = await self.connect()
        try:
            return await ask_for_bytes(connection, [os.fsencode(field) for field in fields], b"M")
        finally:
            connection.close()

    async def tell(self, fields: Sequence[bytes], expected: bytes) -> None:
        """Has the agent do what has no output. Raises MachineError."""
        connection = await self.connect()
        try:
            await ask(connection, fields, expected)
        finally:
            connection.close()


async def _pour(into: Input, content: bytes | AsyncIterator[bytes]) -> None:
    if isinstance(content, bytes):
        await into.write(content)
    else:
        async for chunk in content:
            await into.write(chunk)
            if into.broken:
                break
    into.close()


def _bytes(text: str, what: str) -> bytes:
    data = os.fsencode(text) if what != "the command" else text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ConfigurationError(f"{what} has a NUL character in it, which no program can be given: {text[:80]!r}")
    if len(data) > MAX_FIELD_BYTES:
        raise ConfigurationError(f"{what} has {len(data)} bytes, more than {MAX_FIELD_BYTES}; pass it as a file")
    return data


def _entry(name: str, value: str) -> bytes:
    if not name or "=" in name:
        raise ConfigurationError(f"{name!r} cannot be the name of an environment variable")
    entry = _bytes(f"{name}={value}", f"the environment variable {name}")
    if len(entry) > _MAX_ENTRY_BYTES:
        raise ConfigurationError(
            f"the environment variable {name} has {len(entry)} bytes, more than {_MAX_ENTRY_BYTES}; pass it as a file"
        )
    return entry


def _refused(error: RefusedError, cwd: str) -> Exception:
    if error.stage == b"C":
        return OSError(error.errno, "this working directory cannot be entered in the machine", cwd)
    if error.errno == errno.EAGAIN:
        return MachineError("the machine's limit on processes is reached: end some, or stop() the machine")
    return MachineError(f"the machine could not start a command: {error.strerror}")


def _raise_for(status: int, path: str, stderr: bytes) -> None:
    match status:
        case 0:
            return
        case errno.ENOENT:
            raise FileNotFoundError(errno.ENOENT, "no such file in the machine", path)
        case errno.EISDIR:
            raise IsADirectoryError(errno.EISDIR, "is a directory in the machine", path)
        case errno.ENOTDIR:
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory in the machine", path)
    said = stderr.decode("utf-8", "replace").strip()
    reason = said or (os.strerror(status) if status < 128 else f"the call was ended by signal {status - 128}")
    raise FileError(f"{path!r} in the machine: {reason}")
