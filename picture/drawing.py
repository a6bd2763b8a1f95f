"""A recording as an animated SVG: no script, no font or image from elsewhere, still for those who want it so."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from rich.style import Style
from rich.text import Text

from picture.recording import Line

_WIDTH, _HEIGHT = 8.4, 19
_MARGIN = 18
_BAR = 34
_END_S = 6.0
"""How long the last picture stays before it begins again."""
_COLOURS = {1: "#f7768e", 2: "#9ece6a", 3: "#e0af68", 4: "#7aa2f7", 5: "#bb9af7", 6: "#7dcfff", 15: "#ffffff"}
"""By the number that a terminal knows them by."""
_LIGHTS = ("#f7768e", "#e0af68", "#9ece6a")
_STYLE = """
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#c0caf5;white-space:pre}
.l{animation:show %(all).2fs steps(1) infinite both}
@media (prefers-reduced-motion:reduce){.l{animation:none}}
"""


def draw(lines: Sequence[Line], title: str, columns: int = 104) -> str:
    """The SVG's text. Each line appears when it did; then all of it starts again."""
    whole = lines[-1].at + _END_S
    width = columns * _WIDTH + 2 * _MARGIN
    height = len(lines) * _HEIGHT + _BAR + 2 * _MARGIN
    frames = "".join(
        f"@keyframes k{number}{{0%{{opacity:0}}{100 * line.at / whole:.2f}%{{opacity:1}}}}"
        for number, line in enumerate(lines)
    )
    body = "\n".join(_drawn(number, line, columns) for number, line in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE % {'all': whole}}{frames}</style>\n"
        f'<rect width="100%" height="100%" rx="10" fill="#1a1b26"/>\n'
        + "".join(f'<circle cx="{22 + 20 * n}" cy="20" r="6" fill="{c}"/>' for n, c in enumerate(_LIGHTS))
        + f"\n{body}\n</svg>\n"
    )


def _drawn(number: int, line: Line, columns: int) -> str:
    y = _BAR + _MARGIN + number * _HEIGHT
    text = Text.assemble(("$ ", "green"), (line.text, "bold")) if line.typed else Text.from_ansi(line.text)
    text.truncate(columns, overflow="ellipsis")
    spans = "".join(_span(text, start, end) for start, end in _runs(text))
    return f'<text class="l" style="animation-name:k{number}" x="{_MARGIN}" y="{y}" xml:space="preserve">{spans}</text>'


def _runs(text: Text) -> list[tuple[int, int]]:
    """Where the style changes."""
    edges = sorted({0, len(text), *(edge for span in text.spans for edge in (span.start, span.end))})
    return [(start, end) for start, end in pairwise(edges) if start < end]


def _span(text: Text, start: int, end: int) -> str:
    styles = [Style.parse(str(span.style)) for span in text.spans if span.start <= start and end <= span.end]
    style = Style.combine(styles) if styles else Style()
    colour = _COLOURS.get(style.color.number if style.color and style.color.number is not None else -1, "")
    attributes = (f' fill="{colour}"' if colour else "") + (' font-weight="bold"' if style.bold else "")
    return f"<tspan{attributes}>{escape(text.plain[start:end])}</tspan>"
