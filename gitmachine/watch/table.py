"""The table of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.text import Text
from textual.widgets import DataTable

from gitmachine.events import Event, Unknown
from gitmachine.overview import Running, Seen
from gitmachine.types import MachineState
from gitmachine.watch.text import line
from gitmachine.wording import age, describe, duration

SIGNS = {
    MachineState.RUNNING: ("●", "success"),
    MachineState.PAUSED: ("◐", "warning"),
    MachineState.STOPPED: ("○", "dim"),
}
"""A sign besides the colour: not everybody sees that."""
_ODD = ("◆", "error")
_PADDING = 2
_WIDE = 108
"""Characters, from which on there is room for all columns."""
_COLUMNS = ("State", "Session", "Repository", "Running", "Last event", "When", "Checkpoints")


def state_of(seen: Seen) -> tuple[str, str]:
    """A session's state in a word, with its sign, and its colour's name."""
    sign, colour = SIGNS.get(MachineState(seen.state), _ODD) if seen.state in set(MachineState) else _ODD
    return f"{sign} {'ended' if seen.state == MachineState.STOPPED else seen.state}", colour


class SessionTable(DataTable[Text]):
    """A row a session, by its id. The row that is selected stays so, wherever it moves to."""

    BORDER_TITLE = "Sessions"

    def __init__(self) -> None:
        super().__init__(id="sessions", cursor_type="row", zebra_stripes=False, cell_padding=1)
        self._shown: list[Seen] = []

    def on_resize(self) -> None:
        self._lay_out()

    def show(self, sessions: Sequence[Seen]) -> None:
        """Brings the rows up to date. Moves nothing when nothing has moved."""
        same = [one.record.id for one in self._shown] == [one.record.id for one in sessions]
        self._shown = list(sessions)
        if not same or not self.columns:
            self._lay_out()
            return
        for seen in sessions:
            cells = self._cells(seen)
            for column in self.columns:
                cell = cells[str(column.value)]
                if self.get_cell(seen.record.id, column) != cell:
                    self.update_cell(seen.record.id, column, cell)

    @property
    def selected(self) -> str | None:
        """The id of the session under the cursor."""
        if not self.is_valid_coordinate(self.cursor_coordinate):
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def _lay_out(self) -> None:
        chosen, at = self.selected, self.cursor_row
        with self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            widths = self._widths()
            for key, width in widths.items():
                self.add_column(Text(key, "bold"), width=width, key=key)
            for seen in self._shown:
                cells = self._cells(seen)
                self.add_row(*(cells[name] for name in widths), key=seen.record.id)
            ids = [one.record.id for one in self._shown]
            if ids:
                self.move_cursor(row=ids.index(chosen) if chosen in ids else min(at, len(ids) - 1))

    def _widths(self) -> dict[str, int]:
        """The columns that there is room for; most of it goes to what a session does."""
        room = self.scrollable_content_region.width or self.size.width
        fixed = {"State": 9, "When": 10, "Checkpoints": 11} if room >= _WIDE else {"State": 9, "Checkpoints": 11}
        shares = {"Session": 0.24, "Repository": 0.14, "Running": 0.32, "Last event": 0.30}
        if room < _WIDE:
            shares = {"Session": 0.36, "Running": 0.36, "Last event": 0.28}
        free = max(40, room - sum(fixed.values()) - _PADDING * (len(fixed) + len(shares)))
        widths = {name: int(free * share) for name, share in shares.items()} | fixed
        return {name: widths[name] for name in _COLUMNS if name in widths}

    def _cells(self, seen: Seen) -> dict[str, Text]:
        state, colour = state_of(seen)
        return {
            "State": Text(state, self.app.theme_variables.get(colour, colour)),
            "Session": line(seen.record.session, "bold" if seen.live else "", 120),
            "Repository": line(seen.repository, "dim", 120),
            "Running": _running(seen.running),
            "Last event": _last(seen.tally.last_event),
            "When": Text(age(seen.tally.last), "dim"),
            "Checkpoints": Text(str(seen.tally.checkpoints), justify="right"),
        }


def _running(commands: Sequence[Running]) -> Text:
    if not commands:
        return Text("–", "dim")
    oldest = commands[0]
    more = f" +{len(commands) - 1}" if len(commands) > 1 else ""
    return Text.assemble((f"{elapsed(oldest)}{more} ", "bold"), line(oldest.command, "", 200))


def elapsed(command: Running) -> str:
    """How long a command has run."""
    return "…" if command.since is None else duration(max(1.0, (datetime.now(UTC) - command.since).total_seconds()))


def _last(event: Event | None) -> Text:
    if event is None:
        return Text("–", "dim")
    name = event.event if isinstance(event, Unknown) else event.name
    return Text.assemble((name.replace("_", " ") + " ", "italic"), line(describe(name, event.data()), "dim", 200))
