"""What can go wrong with a request, as data. A script says which request gets which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.e2b_endpoint.recording import Recorded


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer instead of the work: 429, 500, 502, 503, 507 and what else a service may say.

    `body`: default the error of the control plane, `{"code", "message"}`, which the SDK also takes from envd's edge.
    """

    status: int
    message: str = "injected"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """A connection reset, before the work is begun or after all of it is done and nothing was told."""

    when: Literal["before", "after"] = "before"


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection ends in the middle of the answer, after so many bytes of its body; the work goes on.

    `how`: by a reset, or closed without an error. To the SDK these are two things: a ConnectError when the sandbox
    still answers, and a SandboxUnreachableException.
    """

    after_bytes: int
    how: Literal["reset", "close"] = "reset"


@dataclass(frozen=True, slots=True)
class Truncate:
    """The answer ends after so many bytes of its body, and looks complete to HTTP; the work goes on."""

    after_bytes: int


@dataclass(frozen=True, slots=True)
class Delay:
    """The work begins so much later: a slow start, a slow answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """No answer ever, and no work: until the client gives up."""


@dataclass(frozen=True, slots=True)
class Expire:
    """The lease of the request's sandbox ends, and then the request is looked at."""


Fault = Answer | Reset | Drop | Truncate | Delay | Stall | Expire
Script = Callable[[Recorded], Fault | None]


def nothing(request: Recorded) -> Fault | None:
    return None


def at(index: int, fault: Fault, *, times: int = 1) -> Script:
    """The fault at the request of this number and the `times - 1` after it."""
    return lambda request: fault if index <= request.index < index + times else None


def on(method: str, path: str, fault: Fault, *, times: int = 1) -> Script:
    """The fault at the first `times` requests whose method is this and whose path ends so."""
    left = times

    def script(request: Recorded) -> Fault | None:
        nonlocal left
        if left and request.method == method and request.path.endswith(path):
            left -= 1
            return fault
        return None

    return script
