"""What a user sees who types commands: each run for real, in a pseudo-terminal, with the time of each line."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 60.0
_TYPING_S = 0.035
_READING_S = 1.6


@dataclass(frozen=True)
class Line:
    """One that appeared."""

    at: float
    """Seconds from the beginning."""
    text: str
    """With its colours, as a terminal gets them."""
    typed: bool = False


def record(commands: Sequence[str], directory: Path, env: Mapping[str, str]) -> list[Line]:
    """Types the commands one after another. The times are those that passed, and those of a person at the keys."""
    lines: list[Line] = []
    now = 0.0
    for command in commands:
        lines.append(Line(now, command, typed=True))
        now += len(command) * _TYPING_S + 0.3
        begun = time.monotonic()
        for at, text in _run(command, directory, env):
            lines.append(Line(now + at - begun, text))
        now += time.monotonic() - begun + _READING_S
    return lines


def _run(command: str, directory: Path, env: Mapping[str, str]) -> list[tuple[float, str]]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen: list[tuple[float, str]] = []
    waiting = b""
    deadline = time.monotonic() + LIMIT_S
    while True:
        ready, _, _ = select.select([ours], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            process.kill()
            raise TimeoutError(f"{command!r} did not end within {LIMIT_S:g} s")
        try:
            data = os.read(ours, 65536)
        except OSError:  # the program has closed its side
            data = b""
        *whole, waiting = (waiting + data).split(b"\n")
        seen += [(time.monotonic(), line.rstrip(b"\r").decode("utf-8", "replace")) for line in whole]
        if not data:
            break
    os.close(ours)
    process.wait()
    return seen
