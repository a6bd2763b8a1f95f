"""A program in a pseudo-terminal, as a user has it before him."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

LIMIT_S = 30.0


class PseudoTerminal:
    """What the program has written, and keys for it."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self._process = process
        self.written = ""
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def press(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    async def until(self, *words: str) -> None:
        """Waits for words in what is written from now on, then forgets that."""
        await self._wait(lambda: all(word in self.written for word in words), f"waited for {words}")
        self.written = ""

    async def ended(self) -> int:
        await self._wait(lambda: self._process.poll() is not None, "waited for its end")
        assert self._process.returncode is not None
        return self._process.returncode

    async def _wait(self, condition: Callable[[], bool], why: str) -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                while not condition():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{why}: {self.written!r}") from None

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # the other side is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self.written += data.decode("utf-8", "replace")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)


@asynccontextmanager
async def in_a_terminal(command: Sequence[str], rows: int = 40, columns: int = 140) -> AsyncIterator[PseudoTerminal]:
    """Runs a program until the block ends; one that has not ended by then is killed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    terminal = PseudoTerminal(ours, process)
    try:
        yield terminal
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        terminal.close()
        os.close(ours)
