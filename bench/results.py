"""What runs left behind, and what is published of it.

Each figure leaves `bench/results/<name>.json`, which the next run of it replaces; `python -m bench --results` makes
RESULTS.md, results.json and results.svg of all that are there. So a run can be taken in pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import growth
from bench.measure import Row
from bench.registry import FIGURES

HERE = Path(__file__).parent
LEFT = HERE / "results"
NOTES = HERE / "NOTES.md"
PUBLISHED = HERE / "RESULTS.md"

HEADER = f"{'figure':<52} {'ours':>10} {'against':>10} {'value':>9} {'quartiles':>15} {'aim':>8}         against"


@dataclass(frozen=True, slots=True)
class Result:
    """One figure of one run."""

    name: str
    rows: tuple[Row, ...]
    seconds: float
    long: bool
    machine: dict[str, str]
    moment: dict[str, str]

    def save(self) -> None:
        LEFT.mkdir(exist_ok=True)
        (LEFT / f"{self.name}.json").write_text(json.dumps(self.as_json(), indent=1) + "\n")

    def as_json(self) -> dict[str, Any]:
        return {
            "figure": self.name,
            "seconds": round(self.seconds, 1),
            "long": self.long,
            "machine": self.machine,
            "moment": self.moment,
            "rows": [row.as_json() for row in self.rows],
        }

    @classmethod
    def load(cls, path: Path) -> Result:
        data = json.loads(path.read_text())
        rows = tuple(Row.from_json(row) for row in data["rows"])
        return cls(data["figure"], rows, data["seconds"], data["long"], data["machine"], data["moment"])


def kept() -> list[Result]:
    """The last result of each figure that has one, in the registry's order."""
    paths = [LEFT / f"{figure.name}.json" for figure in FIGURES]
    return [Result.load(path) for path in paths if path.exists()]


def grown(results: Iterable[Result]) -> list[Row]:
    """The growth of every series."""
    return growth.exponents(row for result in results for row in result.rows)


def line(row: Row) -> str:
    """A row of the table on a terminal."""
    shown = _Shown(row)
    mark = {True: "met", False: "MISSED", None: ""}[row.met]
    few = "" if row.samples >= 20 or row.measure in ("value", "exponent") else f" ({row.samples} samples)"
    return (
        f"{row.name:<52} {shown.ours:>10} {shown.theirs:>10} {shown.value:>9} {shown.spread:>15} {shown.aim:>8} "
        f"{mark:<7} {row.against}{few}"
    )


def publish(results: Sequence[Result]) -> None:
    """Writes RESULTS.md, results.json and results.svg."""
    from bench import plot

    growing = grown(results)
    published = [
        *(result.as_json() for result in results),
        {"figure": "growth", "rows": [r.as_json() for r in growing]},
    ]
    (HERE / "results.json").write_text(json.dumps(published, indent=1) + "\n")
    plot.draw([row for result in results for row in result.rows], HERE / "results.svg")
    PUBLISHED.write_text("\n".join(_page(results, growing)) + "\n")


def _page(results: Sequence[Result], growing: Sequence[Row]) -> list[str]:
    missed = [row for result in results for row in result.rows if row.met is False] + [
        row for row in growing if row.met is False
    ]
    aimed = sum(row.met is not None for result in results for row in result.rows) + len(growing)
    text = [
        "# Figures",
        "",
        "Written by `python -m bench --results`; `make bench` takes them again. See [README](README.md).",
    ]
    text += ["", *_circumstances(results)]
    text += ["", f"{aimed - len(missed)} of {aimed} aims met.", "", "![ratios to the floor](results.svg)"]
    for result in results:
        about = next(figure.about for figure in FIGURES if figure.name == result.name)
        text += ["", f"## {result.name}: {about}", "", *_table(result.rows), *_notes(result.name)]
    if growing:
        text += ["", "## growth: of the cost over the size of the input, cost = a · size^b", ""]
        text += [*_table(growing), *_notes("growth")]
    return text


def _circumstances(results: Sequence[Result]) -> list[str]:
    machines = {json.dumps(result.machine): result.machine for result in results}
    lines = []
    for machine in machines.values():
        lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in machine.items())]
    commits = sorted({result.moment["commit"] for result in results})
    times = sorted(result.moment["at"] for result in results)
    total = sum(result.seconds for result in results)
    lines += ["", f"Commit {', '.join(commits)}; {times[0]} to {times[-1]}; {total / 60:.1f} minutes in all."]
    if len(commits) > 1:
        lines += ["", *(f"- {result.name}: {result.moment['commit']}" for result in results)]
    if imaged := [result.name for result in results if result.moment["files"] == "in an image"]:
        lines += ["", f"On a new ext4 in an image file each, the others on the disk itself: {', '.join(imaged)}."]
    if long := [result.name for result in results if result.long]:
        lines += ["", f"In the long form (`make bench-long`): {', '.join(long)}."]
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    lines = ["| | against | ours | against | value | quartiles | aim | |", "|---|---|--:|--:|--:|--:|--:|---|"]
    for row in rows:
        shown = _Shown(row)
        mark = {True: "met", False: "**MISSED**", None: ""}[row.met]
        few = f" ({row.samples} samples)" if row.samples < 20 and row.measure in ("ratio", "extra") else ""
        against = f"*{row.against}*" if row.kind == "peer" else row.against
        lines.append(
            f"| {row.name}{few} | {against} | {shown.ours} | {shown.theirs} | {shown.value} | {shown.spread} "
            f"| {shown.aim} | {mark} |"
        )
    return lines


def _notes(name: str) -> list[str]:
    """The section of NOTES.md about a figure."""
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", NOTES.read_text(), re.MULTILINE | re.DOTALL)
    return ["", found.group(1).strip()] if found else []


class _Shown:
    """A row's numbers as text."""

    def __init__(self, row: Row) -> None:
        unit = f" {row.unit}" if row.unit else ""
        self.ours = "" if row.ours is None else f"{_number(row.ours)}{unit}"
        self.theirs = "" if row.theirs is None else f"{_number(row.theirs)}{unit}"
        self._row = row
        self.value = self._of(row.value)
        self.spread = "" if row.spread is None else f"{_number(row.spread[0])}-{_number(row.spread[1])}"
        bound = "≥" if row.at_least else "≤"
        self.aim = "" if row.aim is None else f"{bound} {self._of(row.aim, sign=False)}"

    def _of(self, value: float, sign: bool = True) -> str:
        match self._row.measure:
            case "extra":
                return f"{'+' if sign and value >= 0 else ''}{_number(value)} {self._row.unit}"
            case "value":
                return f"{_number(value)} {self._row.unit}".strip()
            case _:
                return _number(value)


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
