"""Text that somebody else wrote, so that all of it can be seen and none of it does anything."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_LINE = 2000
"""Characters of one line that are shown; how many more there are is said."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"
    "\ufffe\uffff\U000e0000-\U000e0fff\ud800-\udfff]"
)
"""Controls, marks that change the direction of a line, and what has no width. Tab and newline are as they are."""


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces; True with those that spell a character which could not be seen."""
    text = text.replace("\r\n", "\n")
    position = 0
    for match in _UNSEEN.finditer(text):
        if match.start() > position:
            yield text[position : match.start()], False
        yield spelled(match[0]), True
        position = match.end()
    if position < len(text):
        yield text[position:], False


def spelled(character: str) -> str:
    """A character as Python writes it in a string."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain(text: str) -> str:
    """The same as one string on one line, for a title or an attribute."""
    return "".join(piece for piece, _ in pieces(text.replace("\n", " ")))


def beginning(text: str, max_lines: int, max_characters: int) -> tuple[str, int]:
    """At most that many lines and, with long lines cut, characters; and how many lines are left out."""
    lines = text.split("\n")
    kept, size = 0, 0
    while kept < min(len(lines), max_lines) and size < max_characters:
        size += min(len(lines[kept]), MAX_LINE)
        kept += 1
    return "\n".join(lines[:kept]), len(lines) - kept
