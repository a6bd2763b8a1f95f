"""Two clocks: the control plane's, which tests may set forward, and a sandbox's own, which a pause stops."""

from __future__ import annotations

import asyncio
import datetime
import time
from contextlib import suppress


class Clock:
    """The control plane's time: real, plus what tests have added."""

    def __init__(self) -> None:
        self._added_s = 0.0
        self.changed = asyncio.Event()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._added_s

    def advance(self, seconds: float) -> None:
        self._added_s += seconds
        self.changed.set()


def as_datetime(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


class GuestClock:
    """Counts while the sandbox runs: timers of a guest that is paused do not go on."""

    def __init__(self) -> None:
        self._counted_s = 0.0
        self._since: float | None = time.monotonic()
        self._changed = asyncio.Event()

    def now(self) -> float:
        return self._counted_s + (0.0 if self._since is None else time.monotonic() - self._since)

    def stop(self) -> None:
        self._counted_s, self._since = self.now(), None
        self._tell()

    def go_on(self) -> None:
        if self._since is None:
            self._since = time.monotonic()
            self._tell()

    async def wait_until(self, moment: float) -> None:
        while (left := moment - self.now()) > 0:
            # Not wait_for: that of Python 3.11 forgets a cancellation which comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._since is None else left):
                    await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class RunningTime:
    """A moment on a guest's clock."""

    def __init__(self, clock: GuestClock, seconds: float) -> None:
        self._clock = clock
        self._moment = clock.now() + seconds

    @property
    def left_s(self) -> float:
        return self._moment - self._clock.now()

    async def wait(self) -> None:
        await self._clock.wait_until(self._moment)
