"""How a coroutine method becomes a plain one, and a plain callback one that a loop can wait for."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

from gitmachine.types import ExecuteOptions, RunOptions

P = ParamSpec("P")
R = TypeVar("R")
O = TypeVar("O", ExecuteOptions | None, RunOptions | None)  # noqa: E741

CALLBACKS = ("on_stdout", "on_stderr", "on_exit")


def without_await(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], R]:
    """The method of a facade that calls `method` of what is behind it (`asynchronous`) on its `owner`, and waits."""

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        # By name, so that a provider's own version is the one that is called.
        result: R = self.owner.run(getattr(self.asynchronous, method.__name__)(*args, **kwargs))
        return result

    functools.update_wrapper(call, method)
    del call.__dict__["__wrapped__"]  # or it would still pass for a coroutine function
    call.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]  # what inspect and help() show
    return call


def in_thread(callback: Callable[..., Any] | None) -> Callable[..., Awaitable[None]] | None:
    """A coroutine that calls back in a worker thread, where it may block and call the session."""
    if callback is None:
        return None

    async def call(*args: Any) -> None:
        answer = await asyncio.to_thread(callback, *args)
        if inspect.isawaitable(answer):
            await answer

    return call


def with_threads(options: O, keywords: Mapping[str, Any]) -> tuple[O, dict[str, Any]]:
    """The same options of a command, their callbacks in threads."""
    if options is not None:
        given: dict[str, Any] = {name: getattr(options, name, None) for name in CALLBACKS}
        changes: dict[str, Any] = {name: in_thread(callback) for name, callback in given.items() if callback}
        options = replace(options, **changes)
    return options, {name: in_thread(value) if name in CALLBACKS else value for name, value in keywords.items()}
