"""The picture of a run: each ratio with its quartiles and its aim, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.measure import Row

_MET, _MISSED, _PEER = "#2a7f4f", "#c0392b", "#4a6fa5"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Writes an SVG that is the same for the same rows. Needs matplotlib, which the dependency group `bench` brings."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.measure == "ratio"][::-1]
    if not shown:
        return
    with mpl.rc_context({"svg.hashsalt": "gitmachine", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(9, 0.8 + 0.2 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(shown):
            color = _PEER if row.kind == "peer" else _MISSED if row.met is False else _MET
            if row.spread is not None:
                axes.plot(row.spread, (place, place), color=color, linewidth=3, alpha=0.4, solid_capstyle="butt")
            axes.plot([row.value], [place], "o", color=color, markersize=4)
            if row.aim is not None:
                axes.plot([row.aim], [place], "|", color="black", markersize=9)
        axes.axvline(1.0, color="grey", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_yticks(range(len(shown)), [row.name for row in shown])
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlabel(
            "ratio: dot the median, bar the quartiles, stroke the aim; red misses it, blue is against a peer"
        )
        figure.savefig(path, format="svg", metadata={"Date": None})
