"""`shell`: a person's terminal in a session's machine.

No provider needs to know terminals: `script` makes one in the machine, whose keys come through a named pipe and whose
output is that of a command like any other. So the shell is an entry of the history, and its work is in the vault when
it ends. What runs in it drives your terminal, as over ssh; when it is left the terminal is put back.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import secrets
import signal
import struct
import sys
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gitmachine.cli import finding
from gitmachine.cli.doing import say
from gitmachine.errors import ConfigurationError, MachineError, StateError
from gitmachine.git_machine import GitMachine
from gitmachine.types import ExecuteOptions, ExecutionResult, MachineState

_LEAVE = b"\x1d"
"""Ctrl-], as with telnet."""
_CONTROL_LIMIT_S = 30.0
_HANG_UP_LIMIT_S = 5.0
"""How long the shell may take to end when it is left; then it is killed."""
_PUT_BACK = b"\x1b[!p\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0m"

_PREPARE = """
command -v script mkfifo >/dev/null || exit 3
mkdir -p -- "$dir" && chmod 700 -- "$dir" && mkfifo -m 600 -- "$dir/keys"
"""
_COMMAND = 'sh -c "$TERMINAL"  # gitmachine shell'
_TERMINAL = """
unset TERMINAL
trap 'rm -rf -- "$dir"' EXIT
script -qefc '
  tty >"$dir/tty"
  echo "$$" >"$dir/pid"
  stty echo rows "${size% *}" cols "${size#* }"
  unset dir size
  exec "$(command -v bash || command -v sh)" -i
' /dev/null <>"$dir/keys"
"""
_HANG_UP = 'kill -HUP "$(cat "$dir/pid")"'
_CLEAR = 'rm -rf -- "$dir"'
_KEYS = '[ -p "$dir/keys" ] && cat >"$dir/keys"'
_RESIZE = 'stty -F "$(cat "$dir/tty")" rows "${size% *}" cols "${size#* }"'


async def shell(name: str | None) -> int:
    """The exit code of the shell; 0 when it was left by Ctrl-]. Raises ConfigurationError, StateError."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError("a shell needs a terminal on both sides: use `gitmachine run` in scripts and pipes")
    found = await finding.session(name)
    session = found.record.session
    if found.state == MachineState.PAUSED:
        raise StateError(f"session {session!r} is paused: `gitmachine resume {session}` first")
    gm = await GitMachine.reopen(found.record.id)
    try:
        say(f"in session {session}; Ctrl-] or `exit` leaves, the session goes on")
        result = await Terminal(gm, sys.stdin.fileno(), sys.stdout.fileno()).run()
    finally:
        await gm.detach()
    return 0 if result is None else result.exit_code


class Terminal:
    """Joins this process's terminal to one in the machine."""

    def __init__(self, gm: GitMachine, keyboard: int, screen: int) -> None:
        """`keyboard` and `screen` are descriptors of a terminal."""
        self._gm = gm
        self._keyboard = keyboard
        self._screen = screen
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._dir = f"/tmp/.gitmachine-terminal-{secrets.token_hex(8)}"  # noqa: S108 (the machine's)
        self._left = asyncio.Event()

    async def run(self) -> ExecutionResult | None:
        """The shell's end; None when it was left, by Ctrl-] or because the terminal went away.

        Raises ConfigurationError when the machine has nothing to make a terminal with.
        """
        await self._prepare()
        running = asyncio.create_task(self._command())
        left = asyncio.create_task(self._left.wait())
        try:
            async with self._joined():
                await asyncio.wait([running, left], return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    await self._ask(_HANG_UP)
                    await asyncio.wait([running], timeout=_HANG_UP_LIMIT_S)
        finally:
            running.cancel()
            left.cancel()
            await asyncio.gather(running, left, return_exceptions=True)
            with suppress(MachineError):
                await self._ask(_CLEAR)
        return None if self._left.is_set() else running.result()

    async def _command(self) -> ExecutionResult:
        env = {"TERMINAL": _TERMINAL, "TERM": _kind(), "dir": self._dir, "size": self._size()}
        return await self._gm.run(_COMMAND, env=env, on_stdout=self._show, on_stderr=self._show)

    async def _prepare(self) -> None:
        result = await self._ask(_PREPARE)
        if result.exit_code != 0:
            raise ConfigurationError(
                f"there can be no terminal in machine {self._gm.id}: "
                f"{result.stderr.strip() or 'it has no `script` and `mkfifo`, which util-linux and coreutils bring'}"
            )

    @asynccontextmanager
    async def _joined(self) -> AsyncIterator[None]:
        """Keys go in, sizes too, and the terminal is as it was afterwards."""
        loop = asyncio.get_running_loop()
        before = termios.tcgetattr(self._keyboard)
        sender = asyncio.create_task(self._send())
        resizes: set[asyncio.Task[ExecutionResult]] = set()

        def resize() -> None:
            task = asyncio.create_task(self._ask(_RESIZE))
            resizes.add(task)
            task.add_done_callback(resizes.discard)

        tty.setraw(self._keyboard)
        loop.add_reader(self._keyboard, self._read)
        loop.add_signal_handler(signal.SIGWINCH, resize)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            loop.remove_reader(self._keyboard)
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, before)
            os.write(self._screen, _PUT_BACK)
            for task in (sender, *resizes):
                task.cancel()
            await asyncio.gather(sender, *resizes, return_exceptions=True)

    def _read(self) -> None:
        try:
            data = os.read(self._keyboard, 4096)
        except OSError:
            data = b""
        keys, left, _ = data.partition(_LEAVE)
        if keys:
            self._typed.put_nowait(keys)
        if left or not data:
            self._left.set()
            asyncio.get_running_loop().remove_reader(self._keyboard)

    async def _send(self) -> None:
        while True:
            keys = await self._typed.get()
            while not self._typed.empty():
                keys += self._typed.get_nowait()
            await self._ask(_KEYS, keys)

    async def _ask(self, script: str, stdin: bytes = b"") -> ExecutionResult:
        options = ExecuteOptions(
            stdin=stdin, timeout=_CONTROL_LIMIT_S, env={"dir": self._dir, "size": self._size()}, cwd="/"
        )
        return await self._gm.machine.execute(script, options)

    def _show(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._screen, data) :]

    def _size(self) -> str:
        rows, columns = struct.unpack("HHHH", fcntl.ioctl(self._screen, termios.TIOCGWINSZ, b"\0" * 8))[:2]
        return f"{rows or 24} {columns or 80}"


def _kind() -> str:
    kind = os.environ.get("TERM", "")
    return kind if re.fullmatch(r"[A-Za-z0-9.+_-]{1,40}", kind) else "xterm-256color"
