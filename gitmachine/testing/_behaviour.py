"""How a behaviour of the contract is run, and how a provider's deviations from it are kept honest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from gitmachine.machine import Machine

STOP_LIMIT_S = 60.0
"""How long the machine of a behaviour that failed may take to stop."""

Test = Callable[[Any, Machine], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Row:
    """A behaviour as the contract's authors wrote it, before it becomes a test of a provider's class."""

    test: Test
    started: bool

    def bound(self, name: str, reason: str | None) -> Callable[[Any, Machine], None]:
        """The plain function that pytest collects; a strict xfail when the provider deviates for `reason`."""
        row = self

        def run(self: Suite, machine: Machine) -> None:
            asyncio.run(_follow(self, row, machine))

        run.__name__ = run.__qualname__ = name
        run.__doc__ = row.test.__doc__
        run.__module__ = row.test.__module__
        return run if reason is None else pytest.mark.xfail(reason=reason, strict=True)(run)


def behaviour(test: Test) -> Any:
    """Marks a coroutine function as one row of the contract. It is given a machine that runs."""
    return _Row(test, started=True)


def behaviour_of_an_idle_machine(test: Test) -> Any:
    """The same, for a row that starts the machine itself."""
    return _Row(test, started=False)


class Suite:
    """Turns rows into tests for each class that is derived from the contract."""

    deviations: ClassVar[Mapping[str, str]] = {}
    """What this provider does not keep: the name of the test, and the reason."""
    limit_s: ClassVar[float] = 60.0
    """How long one behaviour may take."""
    grace_s: ClassVar[float] = 2.0
    """How long a kill may take, with the round trip to the provider."""

    _redefined: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        rows = rows_of(cls)
        cls._redefined = (
            *cls._redefined,
            *(name for name, value in vars(cls).items() if name in rows and not isinstance(value, _Row)),
        )
        if cls.__module__.startswith("gitmachine.testing"):
            return
        for name, row in rows.items():
            setattr(cls, name, row.bound(name, cls.deviations.get(name)))

    def test_the_deviations_name_behaviours_of_the_contract(self) -> None:
        """A deviation that names no behaviour is a mistake, and so is a behaviour written anew."""
        unknown = sorted(set(self.deviations) - set(rows_of(type(self))))
        assert not unknown, f"no such behaviours: {', '.join(unknown)}"
        assert not self._redefined, f"declare a deviation instead of redefining {', '.join(self._redefined)}"


def rows_of(suite: type[Suite]) -> dict[str, _Row]:
    """The behaviours by name, wherever in the class's ancestry they were written."""
    return {
        name: value for base in reversed(suite.__mro__) for name, value in vars(base).items() if isinstance(value, _Row)
    }


async def _follow(suite: Suite, row: _Row, machine: Machine) -> None:
    async with _ending(machine), asyncio.timeout(suite.limit_s):
        if row.started:
            await machine.start()
        await row.test(suite, machine)


@asynccontextmanager
async def _ending(machine: Machine) -> AsyncIterator[None]:
    """Whatever happens, the machine is stopped and let go of."""
    try:
        yield
    finally:
        async with asyncio.timeout(STOP_LIMIT_S):
            await machine.stop()
            await machine.aclose()
