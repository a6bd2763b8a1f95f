"""Numbers, times and states in words, for the templates."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from gitmachine.git.chain import HistoryEntry
from gitmachine.git.vault import Change
from gitmachine.ui.visible import on_one_line, plain, shown

_STATUS = {"A": "added", "D": "deleted", "M": "modified", "T": "type changed"}


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def age(since: datetime | None) -> str:
    if since is None:
        return "never"
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now" if seconds < 10 else f"{seconds // 10 * 10} s ago"


def clock(at: datetime) -> str:
    """In this host's time, with the date unless it is today."""
    local = at.astimezone()
    return local.strftime("%H:%M:%S" if local.date() == datetime.now().astimezone().date() else "%d %b %H:%M")


def ending(entry: HistoryEntry) -> str:
    """How a command ended, in two words."""
    if entry.timed_out:
        return "timed out"
    return "no exit code" if entry.exit_code is None else f"exit {entry.exit_code}"


def tone(entry: HistoryEntry) -> str:
    if entry.kind not in ("command", "background"):
        return "quiet"
    return "good" if entry.exit_code == 0 and not entry.timed_out else "bad"


def headline(entry: HistoryEntry) -> str:
    """What stands in the timeline for an entry: the first line of the command, or what was done."""
    match entry.kind:
        case "start":
            return "Session began" if entry.number == 0 else "Went on in a new machine"
        case "rewind":
            return f"Rewound to #{entry.target}"
        case "fork":
            return f"Forked from #{entry.target}"
        case "outside":
            return "Changed outside of any command"
        case _:
            first, *rest = entry.command.strip().splitlines() or [""]
            return first + (" …" if rest else "")


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
