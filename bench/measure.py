"""How a figure is taken: ours and the floor in turn, after a warm-up, so that a busy machine disturbs both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. Times in milliseconds."""

    name: str
    against: str
    aim: float
    ours_ms: float
    floor_ms: float
    ratio: float
    """The median of the ratios pair by pair."""
    spread: tuple[float, float]
    """The first and the third quartile of those ratios."""
    samples: int

    @property
    def met(self) -> bool:
        return self.ratio <= self.aim

    def row(self) -> str:
        low, high = self.spread
        mark = "met" if self.met else "MISSED"
        return (
            f"{self.name:<44} {self.ours_ms:>9.1f} {self.floor_ms:>9.1f} {self.ratio:>7.2f} "
            f"{low:>6.2f}-{high:<6.2f} {self.aim:>5.2f} {mark:<7} {self.against}"
        )

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True)
class Extra:
    """A line of the table for what should cost a certain time more than its floor, however long that is."""

    name: str
    against: str
    aim: float
    """Milliseconds."""
    ours_ms: float
    floor_ms: float
    extra_ms: float
    """The median of the differences pair by pair."""
    spread: tuple[float, float]
    """The first and the third quartile of those differences."""
    samples: int

    @property
    def met(self) -> bool:
        return self.extra_ms <= self.aim

    def row(self) -> str:
        low, high = self.spread
        mark = "met" if self.met else "MISSED"
        return (
            f"{self.name:<44} {self.ours_ms:>9.1f} {self.floor_ms:>9.1f} {self.extra_ms:>+5.1f}ms "
            f"{low:>6.1f}-{high:<6.1f} {self.aim:>3.0f}ms {mark:<7} {self.against}"
        )

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "met": self.met}


HEADER = f"{'figure':<44} {'ours ms':>9} {'floor ms':>9} {'ratio':>7} {'quartiles':>13} {'aim':>5} {'':<7} against"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured against what."""

    name: str
    against: str
    aim: float
    samples: int = 20
    warm_up: int = 2


async def compare(plan: Plan, ours: Work, floor: Work, before_each: Work | None = None) -> Figure:
    """Takes the samples in pairs. `before_each` prepares both and is not counted."""
    pairs = await _pairs(plan, ours, floor, before_each)
    middle, spread = _quartiles([mine / theirs for mine, theirs in pairs])
    return Figure(plan.name, plan.against, plan.aim, *_medians(pairs), middle, spread, len(pairs))


async def extra(plan: Plan, ours: Work, floor: Work) -> Extra:
    """As `compare`; the aim is in milliseconds."""
    pairs = await _pairs(plan, ours, floor, None)
    middle, spread = _quartiles([mine - theirs for mine, theirs in pairs])
    return Extra(plan.name, plan.against, plan.aim, *_medians(pairs), middle, spread, len(pairs))


async def _pairs(plan: Plan, ours: Work, floor: Work, before_each: Work | None) -> list[tuple[float, float]]:
    pairs: list[tuple[float, float]] = []
    for turn in range(plan.warm_up + plan.samples):
        if before_each is not None:
            await before_each()
        pair = (await _timed(ours), await _timed(floor))
        if turn >= plan.warm_up:
            pairs.append(pair)
    return pairs


def _medians(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(mine for mine, _ in pairs), statistics.median(theirs for _, theirs in pairs)


def _quartiles(values: list[float]) -> tuple[float, tuple[float, float]]:
    """The median, and the first and the third quartile."""
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return statistics.median(values), (low, high)


async def _timed(work: Work) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000
