"""The parts of `custom_provider.py`: a command, which delivers bytes; `collect` adds deadline and bounds."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path

from gitmachine import ExecuteOptions, MachineState, StateError
from gitmachine.machines.command import Channel, CommandStream


class ShellCommand(CommandStream):
    """A shell that writes to two files, which we read behind it: a child that lives on holds nothing of ours open."""

    def __init__(self, process: asyncio.subprocess.Process, files: ExitStack, out: int, err: int) -> None:
        self._process, self._files = process, files
        self._descriptors: dict[Channel, int] = {"stdout": out, "stderr": err}
        self._offsets = dict.fromkeys(self._descriptors, 0)

    @classmethod
    async def begin(cls, command: str, home: Path, options: ExecuteOptions) -> "ShellCommand":
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
            return cls(process, files.pop_all(), out.fileno(), err.fileno())

    async def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        ended = False
        while not ended:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 0.01)
                ended = True
            for channel, descriptor in self._descriptors.items():
                while data := os.pread(descriptor, 65536, self._offsets[channel]):
                    self._offsets[channel] += len(data)
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


def changed(state: MachineState, wanted: MachineState, then: MachineState) -> MachineState:
    """`then`, if the state is the one that a call needs."""
    if state is not wanted:
        call = {MachineState.IDLE: "start()", MachineState.PAUSED: "resume()"}.get(state, "a new machine")
        raise StateError(f"this machine is {state}, not {wanted}; use {call} first")
    return then


def end_all(home: str | None) -> None:
    """Kills whatever has this home, then removes it."""
    mark = f"HOME={home}\0".encode()
    while pids := [pid for pid in os.listdir("/proc") if pid.isdigit() and mark in _environment(pid)]:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    shutil.rmtree(home or "", ignore_errors=True)


def _environment(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "environ").read_bytes()
    except OSError:  # gone meanwhile, or not ours
        return b""
