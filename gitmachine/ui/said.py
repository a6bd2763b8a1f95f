"""Numbers, times and states in words, for the templates."""

from __future__ import annotations

import os
from typing import Any

from gitmachine.git.vault import Change
from gitmachine.ui.visible import on_one_line, shown
from gitmachine.visible import plain
from gitmachine.wording import age, clock, duration, ending, headline, tone

_STATUS = {"A": "added", "D": "deleted", "M": "modified", "T": "type changed"}


def changed_path(change: Change) -> str:
    return os.fsencode(os.fsdecode(change.path)).decode("utf-8", "backslashreplace")


def label(text: str) -> str:
    """An event's name as words."""
    return text.replace("_", " ").capitalize()


FILTERS: dict[str, Any] = {
    "age": age, "changed_path": changed_path, "clock": clock, "duration": duration, "ending": ending,
    "headline": headline, "label": label, "on_one_line": on_one_line, "plain": plain, "shown": shown,
    "status_word": lambda letter: _STATUS.get(letter, letter), "tone": tone,
}  # fmt: skip
