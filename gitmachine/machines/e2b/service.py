"""The SDK behind a wall: every call in a task of its own, every failure one of ours, repeated where that is safe.

- The SDK may cancel the task that called it when a deadline of a stream passes (e2b 2.63 on Python 3.12 and newer);
  so it is never called in the caller's.
- It lets exceptions of httpx, connectrpc and json through, and raises a bare `Exception` when a stream ends early.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import importlib
import importlib.util
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from gitmachine.errors import (
    FileError,
    GitMachineError,
    MachineError,
    MachineLost,
    MachineUnavailable,
    MachineUnreachable,
    MissingExtra,
)

T = TypeVar("T")

_EXIT_PAUSE_S = 0.5
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
ATTEMPTS = 6
"""How often something that is safe to repeat is tried; with the pauses between, for some 5 seconds."""
_TURN_LIMIT_S = 120.0
"""For how long more is asked for than an account may have in a second: two hundred sandboxes take a Pro plan 40."""


class NotRunning(MachineLost):
    """The sandbox does not run: it is paused, or gone. Who catches it asks the service which."""


def require() -> None:
    """Raises MissingExtra when the SDK is not installed. Does not load it, which takes a second."""
    if importlib.util.find_spec("e2b") is None:
        raise MissingExtra('E2BMachine needs the SDK of E2B: install "gitmachine-sdk[e2b]"')


async def load() -> Any:
    """The SDK's module."""
    require()
    return sys.modules.get("e2b") or await asyncio.to_thread(_loaded)


@functools.cache
def _loaded() -> Any:
    # pyqwest 0.12, on which the SDK is built, often aborts the interpreter when it ends at once after a request.
    atexit.register(time.sleep, _EXIT_PAUSE_S)
    return importlib.import_module("e2b")


async def ask(what: str, call: Callable[[], Awaitable[T]], *, attempts: int = ATTEMPTS) -> T:
    """The answer to a call that may be sent again, `attempts` times while its failure is of the passing kind.

    A limit on requests is waited for, up to two minutes: who asks for much at once must wait his turn.
    Raises what `translated` says.
    """
    deadline = time.monotonic() + _TURN_LIMIT_S
    attempt = 0
    while True:
        attempt += 1
        try:
            return await _alone(_awaited(call))
        except Exception as error:
            ours = translated(what, error)
            waits = type(error).__name__ == "RateLimitException" and time.monotonic() < deadline
            if not ours.retryable or (attempt >= attempts and not waits):
                raise ours from error
        await asyncio.sleep(pause_before(attempt))


def pause_before(attempt: int) -> float:
    """Seconds to wait after that many failures, not the same for all who failed together."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (attempt - 1)) * random.uniform(0.7, 1.3)  # noqa: S311


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


async def _alone(work: Coroutine[Any, Any, T]) -> T:
    """Runs in a task of its own, which a cancellation of the caller's ends before it goes on."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    return task.result()


def translated(what: str, error: BaseException) -> GitMachineError:
    """Our exception for one of the SDK's or of what it is built on. `what` says what was tried."""
    if isinstance(error, GitMachineError):
        return error
    name = type(error).__name__
    said = f"{what}: {error or name}"
    match name:
        case "AuthenticationException":
            return MachineUnavailable(f"{said}; check E2B_API_KEY")
        case "SandboxNotRunningException" | "SandboxNotFoundException":
            return NotRunning(said)
        case "NotEnoughSpaceException":
            return FileError(f"{said}; free some space in the machine")
        case "TemplateException" | "InvalidArgumentException" | "NotFoundException" | "FileNotFoundException":
            return MachineError(said)
    if any(words in str(error) for words in ("not a directory", "is a directory", "path is a file")):
        return MachineError(said)
    status = getattr(error, "status_code", None)
    if name == "SandboxException" and _is_final(status, str(error)):
        return MachineError(said)
    # What is left is of the passing kind: limits on requests, a service that is busy, connections that broke or timed
    # out, an answer that was not the service's own (a proxy's page, say), a stream that ended early.
    return MachineUnreachable(f"{said} ({name}); try again")


def _is_final(status: int | None, message: str) -> bool:
    """The service has understood the request and does not want it."""
    if status is None:
        head = message.partition(":")[0]
        status = int(head) if head.isdigit() else None
    return status is not None and 400 <= status < 500 and status not in (408, 409, 425, 429)
