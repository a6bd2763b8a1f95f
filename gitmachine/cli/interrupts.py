"""Ctrl-C and SIGTERM: the step under way is cancelled, and whoever started it decides what becomes of the work."""

from __future__ import annotations

import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal ended the step; its cleanup is done."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number
        self.exit_code = 128 + number


async def until_interrupted(step: Coroutine[Any, Any, T]) -> T:
    """Runs a step that a signal cancels. Raises Interrupted when one did and the step did not finish.

    A signal that we were started to ignore, as by nohup(1), stays ignored.
    """
    import asyncio  # here, since `--help` does without it

    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(step)
    received: list[signal.Signals] = []

    def receive(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, receive, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise Interrupted(received[0]) from None
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
