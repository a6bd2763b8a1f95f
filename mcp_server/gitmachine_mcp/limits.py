"""Texts cut to what a model and a wire can take, and the cursors by which the rest is read."""

from __future__ import annotations

import json

from gitmachine.errors import ConfigurationError

MAX_CHARS = 30_000
"""Characters of text in one answer."""
MAX_ENCODED_BYTES = 150 * 1024
"""Of that text as JSON. An answer holds it twice and stays below 400 KiB; one event of a stream may have 1 MiB."""


def room(text: str, max_chars: int = MAX_CHARS) -> int:
    """How many characters of `text`, from its beginning, fit into an answer."""
    fitting = min(len(text), max_chars, MAX_CHARS)
    while (size := encoded_size(text[:fitting])) > MAX_ENCODED_BYTES:
        fitting = fitting * MAX_ENCODED_BYTES // (size + 1)
    return fitting


def encoded_size(text: str) -> int:
    """Bytes of a text on the wire."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def head_and_tail(data: bytes, max_chars: int) -> tuple[str, int]:
    """The output as far as it fits, and the offset in bytes up to which it is without a gap.

    Of an output that is too long the first third and the end are given: a failure is mostly told at the end.
    """
    text = data.decode("utf-8", "replace")
    fitting = room(text, max_chars)
    if fitting == len(text):
        return text, len(data)
    head = text[: room(text, fitting // 3)]
    tail = text[-room(text[::-1], fitting - len(head) - 100) :] if fitting - len(head) > 100 else ""
    offset = len(head.encode())
    cut = len(text) - len(head) - len(tail)
    return f"{head}\n[... {cut} characters left out: read on with `logs` from cursor {offset} ...]\n{tail}", offset


def number_of(cursor: str | None) -> int:
    """The offset that a cursor stands for. Raises ConfigurationError."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 15:
        raise ConfigurationError(f"{cursor[:40]!r} is no cursor: pass on `next_cursor` as you got it, or leave it out")
    return int(cursor)
