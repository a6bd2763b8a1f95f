"""Who is asking: the door through which a command came, and its own name for the call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gitmachine.types import Actor

_current: ContextVar[Actor | None] = ContextVar("gitmachine_actor", default=None)


def current() -> Actor:
    """The actor of the running task; a Python program when nobody said anything."""
    return _current.get() or Actor()


@contextmanager
def acting(door: str, call: str | None = None) -> Iterator[Actor]:
    """Within the block commands are this door's. `call` is the tool call's id, where the door has one."""
    actor = Actor(door, call)
    token = _current.set(actor)
    try:
        yield actor
    finally:
        _current.reset(token)
