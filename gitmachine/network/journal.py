"""What a proxy refused, a line each, in a file that the proxy appends to and the host reads."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from gitmachine.types import Refusal

MAX_LINES = 10_000
FOLD_S = 2.0
"""The same refusal again within this time is not written again: programs retry."""
_MAX_READ_BYTES = 4 * 1024 * 1024


class Journal:
    """The writing side. A machine cannot make it grow without bound: at `MAX_LINES` it says so and ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._left = MAX_LINES
        self._last: dict[tuple[str, int], float] = {}

    def add(self, host: str, port: int, reason: str) -> None:
        now = time.time()
        if self._left <= 0 or now - self._last.get((host, port), 0.0) < FOLD_S:
            return
        if len(self._last) > 1000:
            self._last.clear()
        self._last[host, port] = now
        self._left -= 1
        if self._left == 0:
            host, port, reason = "*", 0, f"{MAX_LINES} connections were refused; further ones are not told"
        line = json.dumps(asdict(Refusal(host, port, reason, now))) + "\n"
        os.write(self._fd, line.encode())


def read(path: Path, offset: int = 0) -> tuple[list[Refusal], int]:
    """The refusals after `offset`, and the offset to go on from. Blocks for a file operation."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(_MAX_READ_BYTES)
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    return [Refusal(**json.loads(line)) for line in whole.splitlines()], offset + len(whole)
