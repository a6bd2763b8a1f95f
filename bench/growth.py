"""How a cost grows with the size of its input: the exponent b of cost = a * size^b, fitted to the rows of a series."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby

from bench.measure import Row

AIM = 1.1


def exponents(rows: Iterable[Row]) -> list[Row]:
    """A row for each series with two sizes or more."""
    known = sorted((row for row in rows if row.series and row.ours), key=lambda row: (row.series, row.size))
    made = []
    for series, members in groupby(known, key=lambda row: row.series):
        points = [(row.size, row.ours) for row in members if row.ours is not None]
        if len({size for size, _ in points}) < 2:
            continue
        sizes = f"{points[0][0]:,.0f} to {points[-1][0]:,.0f}"
        made.append(Row(f"growth: {series}", f"its size, {sizes}", "exponent", fitted(points), aim=AIM, unit=""))
    return made


def fitted(points: list[tuple[float, float]]) -> float:
    """The slope of the least squares line through the logarithms."""
    logs = [(math.log(size), math.log(cost)) for size, cost in points]
    x_mean = sum(x for x, _ in logs) / len(logs)
    y_mean = sum(y for _, y in logs) / len(logs)
    return sum((x - x_mean) * (y - y_mean) for x, y in logs) / sum((x - x_mean) ** 2 for x, _ in logs)
