"""Somebody else's text as HTML."""

from __future__ import annotations

from markupsafe import Markup, escape

from gitmachine.visible import MAX_LINE, pieces


def shown(text: str) -> Markup:
    """The text as HTML, line for line; what could not be seen is spelled out and marked."""
    return Markup("\n").join(_line(line) for line in text.replace("\r\n", "\n").split("\n"))


def on_one_line(text: str) -> Markup:
    """The same for a name, in which a line break is as odd as any other control."""
    return Markup('<span class="unseen">\\x0a</span>').join(_line(line) for line in text.split("\n"))


def _line(line: str) -> Markup:
    more = len(line) - MAX_LINE
    marked = Markup().join(
        Markup('<span class="unseen">{}</span>').format(piece) if spelt else escape(piece)
        for piece, spelt in pieces(line[:MAX_LINE])
    )
    return marked if more <= 0 else marked + Markup('<span class="cut"> … {:,} characters more</span>').format(more)
