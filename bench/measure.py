"""How a figure is taken: all contenders in turn, after a warm-up, so that a busy machine disturbs them alike.

What is published is the median of the ratios (or differences) round by round, with their quartiles: two numbers that
were taken a moment apart on one machine. Times by themselves are printed beside it and mean little elsewhere.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Work = Callable[[], Awaitable[object]]
Samples = Mapping[str, list[float]]
"""Milliseconds by contender, in the order of the rounds."""

OURS = "ours"
FLOOR = "floor"

Measure = Literal["ratio", "extra", "value", "exponent"]
"""How often its floor a figure is; how much more than its floor; a number by itself; how it grows."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that is timed once in each round."""

    work: Work
    """A float that it gives back counts in place of the time that it took, in milliseconds."""
    before: Work | None = None
    """Prepares this contender's turn; not counted. What it needs undone the next round's `before` does."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How many rounds. When the time is up, those taken count, if they are at least `fewest`."""

    samples: int = 20
    warm_up: int = 2
    seconds: float = 240.0
    fewest: int = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    against: str
    measure: Measure
    value: float
    spread: tuple[float, float] | None = None
    """The first and the third quartile."""
    aim: float | None = None
    at_least: bool = False
    """The aim is a lower bound."""
    ours: float | None = None
    theirs: float | None = None
    unit: str = "ms"
    """Of `ours` and `theirs`, and of the value unless that is a ratio or an exponent."""
    samples: int = 1
    kind: str = "floor"
    """What it is held against: floor, peer, or nothing (fact)."""
    series: str = ""
    """Rows of one series differ in `size`; how `ours` grows with it is fitted."""
    size: float = 0.0

    @property
    def met(self) -> bool | None:
        """None where nothing was aimed at."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        spread = data.pop("spread")
        return cls(**data, spread=None if spread is None else (spread[0], spread[1]))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a row says beside its numbers."""

    name: str
    against: str
    aim: float | None = None
    at_least: bool = False
    kind: str = "floor"
    series: str = ""
    size: float = 0.0
    inverse: bool = False
    """The ratio is theirs over ours: how many times slower they are."""


@dataclass(slots=True)
class Taken:
    """The samples of one set of rounds, and the rows that can be made of them."""

    samples: dict[str, list[float]] = field(default_factory=dict)

    def ratio(self, plan: Plan, ours: str = OURS, theirs: str = FLOOR) -> Row:
        if plan.inverse:
            values = [other / mine for mine, other in self._pairs(ours, theirs)]
        else:
            values = [mine / other for mine, other in self._pairs(ours, theirs)]
        return self._row(plan, "ratio", values, ours, theirs)

    def extra(self, plan: Plan, ours: str = OURS, theirs: str = FLOOR) -> Row:
        """The aim is in milliseconds."""
        return self._row(plan, "extra", [mine - other for mine, other in self._pairs(ours, theirs)], ours, theirs)

    def _pairs(self, ours: str, theirs: str) -> list[tuple[float, float]]:
        return list(zip(self.samples[ours], self.samples[theirs], strict=True))

    def _row(self, plan: Plan, measure: Measure, values: list[float], ours: str, theirs: str) -> Row:
        return Row(
            plan.name,
            plan.against,
            measure,
            statistics.median(values),
            quartiles(values),
            plan.aim,
            plan.at_least,
            statistics.median(self.samples[ours]),
            statistics.median(self.samples[theirs]),
            samples=len(values),
            kind=plan.kind,
            series=plan.series,
            size=plan.size,
        )


def quartiles(values: list[float]) -> tuple[float, float] | None:
    """The first and the third; None for too few values."""
    if len(values) < 3:
        return None
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


async def rounds(contenders: Mapping[str, Contender | Work], effort: Effort | None = None) -> Taken:
    """Times each contender once a round. Who begins changes from round to round, for what follows the floor's work
    finds other caches than what follows its own."""
    effort = effort or Effort()
    named = {name: one if isinstance(one, Contender) else Contender(one) for name, one in contenders.items()}
    order = list(named)
    taken = Taken({name: [] for name in named})
    ends = time.monotonic() + effort.seconds
    for turn in range(effort.warm_up + effort.samples):
        if turn >= effort.warm_up + effort.fewest and time.monotonic() > ends:
            break
        for name in order:
            spent = await _timed(named[name])
            if turn >= effort.warm_up:
                taken.samples[name].append(spent)
        order = [*order[1:], order[0]]
    return taken


async def compare(plan: Plan, ours: Contender | Work, floor: Contender | Work, effort: Effort | None = None) -> Row:
    """The ratio of two."""
    return (await rounds({OURS: ours, FLOOR: floor}, effort)).ratio(plan)


async def _timed(contender: Contender) -> float:
    if contender.before is not None:
        await contender.before()
    began = time.perf_counter()
    told = await contender.work()
    spent = (time.perf_counter() - began) * 1000
    return told if isinstance(told, float) else spent
