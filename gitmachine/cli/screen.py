"""What a person sees: events and notes on standard error, answers on standard output."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from gitmachine.cli.pipes import silence
from gitmachine.wording import describe

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
QUIET_EVENTS = frozenset({"checkpointed", "command_started", "command_finished", "reconnected", "stopping"})
"""What `run` need not say, since its user sees the command itself."""


def plain(text: str) -> str:
    """Text from a machine or a remote, made unable to drive a terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


_COLOURS = {
    "committed": "green", "pushed": "green", "push_rejected": "red", "push_held": "yellow", "withheld": "yellow",
    "capture_incomplete": "red", "callback_failed": "red", "paused": "cyan", "resumed": "cyan", "recovered": "yellow",
    "command_started": "bright_white", "network_refused": "yellow", "setup_failed": "red",
}  # fmt: skip


class Screen:
    """Tells a person what happens, on standard error, or on standard output where that is the answer.

    With `silent` it says nothing; `hide` are names of events to pass over.
    """

    def __init__(self, *, silent: bool = False, hide: frozenset[str] = frozenset(), stderr: bool = True) -> None:
        from rich.console import Console

        class Patient(Console):
            """Goes on when its reader has gone; its base class would end the program in the middle of a session."""

            def on_broken_pipe(self) -> None:
                silence(self.file.fileno())

        self._silent = silent
        self._hide = hide
        self._console = Patient(stderr=stderr, highlight=False, soft_wrap=True)

    def event(self, event: str, data: dict[str, Any], gm: object = None) -> None:
        """Fits `on_event`."""
        del gm
        if event not in self._hide:
            self._line(event.replace("_", " "), describe(event, data), _COLOURS.get(event, "blue"))

    def indented(self, text: str) -> None:
        """Lines of somebody else's words."""
        for line in text.splitlines():
            self.note(f"    {line}")

    def note(self, text: str) -> None:
        self._line("", text, "none")

    def heading(self, text: str) -> None:
        self._line("", f"\n{text}", "bold")

    def warn(self, text: str) -> None:
        self._line("warning", text, "yellow")

    def working(self, text: str) -> Any:
        """A context in which a terminal shows that something long goes on."""
        if self._silent:
            from contextlib import nullcontext

            return nullcontext()
        return self._console.status(plain(text))

    def _line(self, label: str, text: str, style: str) -> None:
        if self._silent:
            return
        from rich.text import Text

        line = Text.assemble((f"{label:<18} ", style), plain(text)) if label else Text(plain(text), style)
        line.rstrip()
        self._console.print(line)


def answer(text: str) -> None:
    """Text for standard output, as it is; made harmless when that is a terminal."""
    click.echo(plain(text) if sys.stdout.isatty() else text)


def answer_json(value: object) -> None:
    """One JSON value for standard output."""
    click.echo(json.dumps(value, indent=2, default=str))


def table(rows: Sequence[tuple[str, ...]], heads: tuple[str, ...]) -> None:
    """Columns on standard output, whose width is theirs: for a person and for `awk` alike."""
    lines = [[plain(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in lines) for column in range(len(heads))]
    for row in lines:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
