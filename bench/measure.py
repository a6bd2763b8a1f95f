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
    pairs: list[tuple[float, float]] = []
    for turn in range(plan.warm_up + plan.samples):
        if before_each is not None:
            await before_each()
        pair = (await _timed(ours), await _timed(floor))
        if turn >= plan.warm_up:
            pairs.append(pair)
    ratios = [mine / theirs for mine, theirs in pairs]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    return Figure(
        name=plan.name,
        against=plan.against,
        aim=plan.aim,
        ours_ms=statistics.median(mine for mine, _ in pairs),
        floor_ms=statistics.median(theirs for _, theirs in pairs),
        ratio=statistics.median(ratios),
        spread=(low, high),
        samples=len(pairs),
    )


async def _timed(work: Work) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000
