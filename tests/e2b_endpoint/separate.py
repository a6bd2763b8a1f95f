"""An endpoint in a process of its own: for figures in which it must have no part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).parents[2]
END_LIMIT_S = 60.0


class SeparateEndpoint:
    """`with SeparateEndpoint() as endpoint:`, the same names as in E2BEndpoint. Its sandboxes end with it."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2b_endpoint"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.environment: dict[str, str] = self._hear()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._process.communicate(timeout=END_LIMIT_S)
        finally:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def requests(self) -> list[tuple[str, int | None]]:
        """Name and status of each since the last `forget`."""
        return [(name, status) for name, status in self._ask(ask="requests")]

    @property
    def sandboxes(self) -> dict[str, str]:
        """`running` or `paused` by id."""
        return dict(self._ask(ask="sandboxes"))

    @property
    def most_connections(self) -> int:
        return int(self._ask(ask="most_connections"))

    def forget(self) -> None:
        self._ask(ask="forget")

    def delay(self, seconds: float) -> None:
        """Latency of every request from now on."""
        self._ask(ask="delay", seconds=seconds)

    def _ask(self, **question: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the separate E2B endpoint has ended with {self._process.wait()}")
        return json.loads(line)
