"""Other people's text as what a terminal shows: it moves no cursor, is no markup, and turns no line around."""

from __future__ import annotations

from rich.text import Text

from gitmachine.visible import MAX_LINE, pieces

SPELLED = "reverse dim"
"""The style of a character that could not be seen and is written out."""


def line(text: str, style: str = "", max_characters: int = MAX_LINE) -> Text:
    """One line, whatever it holds; what it has above the limit is counted."""
    more = len(text) - max_characters
    made = Text(style=style, no_wrap=True, overflow="ellipsis", end="")
    for piece, spelt in pieces(text[:max_characters].replace("\n", " ").replace("\t", "    ")):
        made.append(piece, SPELLED if spelt else None)
    if more > 0:
        made.append(f" … {more:,} characters more", "dim italic")
    return made


def lines(text: str, style: str = "") -> list[Text]:
    """Each line of a text."""
    return [line(one, style) for one in text.replace("\r\n", "\n").split("\n")]


class Stream:
    """Text that comes in pieces, made into what can be appended to a widget: spelled out, no line without end."""

    def __init__(self) -> None:
        self._column = 0
        self._carriage_return = False

    def feed(self, text: str) -> str:
        """What to append. A lone carriage return begins a new line: what it would overwrite stays to be read."""
        if self._carriage_return:
            text = "\r" + text
        self._carriage_return = text.endswith("\r")
        text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        return "\n".join(self._bounded(part, first=not number) for number, part in enumerate(text.split("\n")))

    def _bounded(self, part: str, *, first: bool) -> str:
        before = self._column if first else 0
        self._column = before + len(part)
        shown = "".join(piece for piece, _ in pieces(part[: max(0, MAX_LINE - before)]))
        return shown + (" …" if before <= MAX_LINE < self._column else "")
