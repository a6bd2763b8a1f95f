"""A provider made of the ten abstract members alone, as somebody would write his first one.

No wall at all: the commands run as we do, in a directory of their own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path

from gitmachine.errors import StateError
from gitmachine.machine import Machine
from gitmachine.machines.command import Channel, CommandStream, collect
from gitmachine.types import ExecuteOptions, ExecutionResult, MachineState

_LOOK_EVERY_S = 0.01


class PlainMachine(Machine):
    """Plain subprocesses in a temporary directory."""

    def __init__(self) -> None:
        self._home: Path | None = None
        self._state = MachineState.IDLE

    @property
    def id(self) -> str | None:
        return None if self._home is None else str(self._home)

    @property
    def state(self) -> MachineState:
        return self._state

    async def start(self) -> None:
        if self._state is not MachineState.IDLE:
            raise StateError(f"this machine is {self._state}; start() is for a new one")
        self._home = Path(tempfile.mkdtemp(prefix="plain-"))
        self._state = MachineState.RUNNING

    async def pause(self) -> None:
        self._running()
        self._state = MachineState.PAUSED

    async def resume(self) -> None:
        if self._state is not MachineState.PAUSED:
            raise StateError(f"this machine is {self._state}; resume() is for one after pause()")
        self._state = MachineState.RUNNING

    async def stop(self) -> None:
        self._state = MachineState.STOPPED
        if self._home is not None:
            await asyncio.to_thread(_end, self._home)

    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        home, options = self._running(), options or ExecuteOptions()
        return await collect(await _Subprocess.start(command, home, options), options)

    async def read_file(self, path: str) -> str:
        return (self._running() / path).read_bytes().decode()

    async def write_file(self, path: str, content: str | bytes) -> None:
        target = self._running() / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    async def list_files(self, path: str) -> list[str]:
        return sorted(os.listdir(self._running() / path))

    def _running(self) -> Path:
        if self._state is not MachineState.RUNNING or self._home is None:
            call = {MachineState.IDLE: "start()", MachineState.PAUSED: "resume()"}.get(self._state)
            raise StateError(f"this machine is {self._state}; call {call or 'start() on a new machine'} first")
        return self._home


class _Subprocess(CommandStream):
    """A shell whose output goes to two files that we read behind it, so that a child of it that lives on holds
    nothing of ours open."""

    def __init__(self, process: asyncio.subprocess.Process, files: ExitStack, out: int, err: int) -> None:
        self._process = process
        self._files = files
        self._descriptors: dict[Channel, int] = {"stdout": out, "stderr": err}
        self._offsets: dict[Channel, int] = {"stdout": 0, "stderr": 0}

    @classmethod
    async def start(cls, command: str, home: Path, options: ExecuteOptions) -> _Subprocess:
        began = time.monotonic()
        stdin = options.stdin or b""
        with ExitStack() as files:
            given, out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            given.write(stdin.encode() if isinstance(stdin, str) else stdin)
            given.seek(0)
            process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", command,
                cwd=home / (options.cwd or "."), env={"HOME": str(home), "PATH": os.defpath, **options.env},
                stdin=given, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip
            stream = cls(process, files.pop_all(), out.fileno(), err.fileno())
            stream.started = began  # the command is under way already
            return stream

    async def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        ended = False
        while not ended:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _LOOK_EVERY_S)
                ended = True
            for channel, offset in self._offsets.items():
                while data := os.pread(self._descriptors[channel], 65536, offset):
                    self._offsets[channel] = offset = offset + len(data)
                    yield channel, data

    async def exit_code(self) -> int:
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def aclose(self) -> None:
        self._files.close()


def _end(home: Path) -> None:
    """Kills whatever has this home, then removes it."""
    mark = f"HOME={home}\0".encode()
    while pids := [pid for pid in os.listdir("/proc") if pid.isdigit() and mark in _environment(pid)]:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    shutil.rmtree(home, ignore_errors=True)


def _environment(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "environ").read_bytes()
    except OSError:  # gone meanwhile, or not ours
        return b""
