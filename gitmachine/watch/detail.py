"""The selected session: what its command writes, what it has done, what has happened."""

from __future__ import annotations

import asyncio

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widgets import DataTable, Log, RichLog, Static

from gitmachine.errors import VaultError
from gitmachine.events import Event, Unknown
from gitmachine.git.chain import HistoryEntry
from gitmachine.overview import QUIET, Seen
from gitmachine.watch.looking import LiveOutputs, Past, output_of, past_of
from gitmachine.watch.table import elapsed, state_of
from gitmachine.watch.text import Stream, line, lines
from gitmachine.wording import age, clock, describe, duration, ending, headline, tone

_MAX_LINES = 5000
_KEPT_CHARACTERS = 2_000_000
_NONE = "No session yet: `gitmachine run -- COMMAND` makes one"
_TONES = {"good": "success", "bad": "error", "quiet": "secondary"}
_GOOD = frozenset({"committed", "pushed", "resumed", "started"})
_BAD = frozenset(
    {"push_rejected", "push_held", "capture_incomplete", "machine_lost", "callback_failed", "setup_failed"}
)


class Output(Log):
    """What a command wrote: as it comes while it runs, from the history afterwards."""

    def __init__(self) -> None:
        super().__init__(id="output", highlight=False, max_lines=_MAX_LINES)
        self._shown: tuple[str, str | int] | None = None
        self._stream = Stream()
        self._live: LiveOutputs | None = None
        self._reading = asyncio.Lock()
        self._is_gone = False

    async def follow(self, seen: Seen) -> None:
        """Appends what the newest of the running commands has written since."""
        command = seen.running[-1]
        if self._begin(seen, command.call):
            self._live = LiveOutputs(seen.record)
        if self._live is None:  # closed with the view, in the middle of a look
            return
        others = f"  (and {len(seen.running) - 1} more)" if len(seen.running) > 1 else ""
        self.border_title = line(f"▶ {command.command}", "", 90)
        self.border_subtitle = f"running for {elapsed(command)}{others}"
        async with self._reading:
            news = await asyncio.to_thread(lambda live: list(live.news(command.call)), self._live)
        for text in news:
            self.write(self._stream.feed(text))

    async def recall(self, seen: Seen, entry: HistoryEntry | None) -> None:
        """Shows what a command of the history wrote."""
        if not self._begin(seen, -1 if entry is None else entry.number):
            return
        self.border_title = "Output" if entry is None else line(f"#{entry.number} {headline(entry)}", "", 90)
        self.border_subtitle = "" if entry is None else f"{ending(entry)} after {duration(entry.duration)}"
        if entry is None:
            return
        try:
            stdout, stderr = await output_of(seen.record, entry)
        except VaultError as error:
            stdout, stderr = "", str(error)
        both = stdout + ("\n" if stdout and not stdout.endswith("\n") else "") + stderr
        self.write(self._stream.feed(both[-_KEPT_CHARACTERS:]) or "(it wrote nothing)")

    def _begin(self, seen: Seen, what: str | int) -> bool:
        """Empties the widget when it is to show something else than it does."""
        if self._is_gone or self._shown == (seen.record.id, what):
            return False
        self._shown = (seen.record.id, what)
        self.close()
        self._stream = Stream()
        self.clear()
        return True

    def close(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None

    async def on_unmount(self) -> None:
        self._is_gone = True
        async with self._reading:
            self.close()


class History(DataTable[Text]):
    """An entry a row, the newest first."""

    BORDER_TITLE = "History"

    def __init__(self) -> None:
        super().__init__(id="history", cursor_type="row", cell_padding=1, show_header=False)
        self._entries: list[HistoryEntry] = []
        self._session = ""

    def show(self, session: str, past: Past) -> None:
        """The cursor stays on its entry, or on the newest when it was there."""
        entries = list(reversed(past.entries))
        at = self.selected
        stays = at is not None and session == self._session and self.cursor_row > 0
        self._entries, self._session = entries, session
        with self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            for key, width in (("number", 5), ("ending", 9), ("took", 9), ("command", None)):
                self.add_column(key, key=key, width=width)
            for entry in entries:
                self.add_row(*self._cells(entry), key=str(entry.number))
            numbers = [entry.number for entry in entries]
            if stays and at is not None and at.number in numbers:
                self.move_cursor(row=numbers.index(at.number))
        self.border_subtitle = line(past.problem, "", 60)

    @property
    def selected(self) -> HistoryEntry | None:
        return self._entries[self.cursor_row] if self.cursor_row < len(self._entries) else None

    def _cells(self, entry: HistoryEntry) -> tuple[Text, ...]:
        colour = self.app.theme_variables[_TONES[tone(entry)]]
        is_command = entry.kind in ("command", "background")
        changed = f"  {entry.changed} changed" if entry.changed else ""
        return (
            Text(f"#{entry.number}", "dim", justify="right"),
            Text(ending(entry) if is_command else entry.kind, colour),
            Text(duration(entry.duration) if is_command else "", "dim", justify="right"),
            Text.assemble(line(headline(entry), "", 300), (changed, "italic dim")),
        )


class Events(RichLog):
    """What has happened, the newest last."""

    BORDER_TITLE = "Events"

    def __init__(self) -> None:
        super().__init__(id="events", max_lines=_MAX_LINES, min_width=0, wrap=False)

    def show(self, events: list[Event]) -> None:
        self.clear()
        for event in events:
            name = event.event if isinstance(event, Unknown) else event.name
            if name not in QUIET:
                for number, text in enumerate(lines(describe(name, event.data()))):
                    self.write(self._line(event, name, text, first=not number))

    def _line(self, event: Event, name: str, text: Text, *, first: bool) -> Text:
        kind = "success" if name in _GOOD else "error" if name in _BAD else "primary"
        head = (f"{clock(event.at)}  ", "dim"), (f"{name.replace('_', ' '):<17} ", self.app.theme_variables[kind])
        return Text.assemble(*head, text) if first else Text.assemble(" " * 10, text)


class Detail(Vertical):
    """All that is shown of one session."""

    def __init__(self) -> None:
        super().__init__(id="detail")
        self.history = History()
        self._head = Static(id="title", markup=False)
        self._output = Output()
        self._events = Events()
        self._known: tuple[str, int] | None = None

    def compose(self) -> ComposeResult:
        yield self._head
        with Container(id="panes"):
            yield self._output
            with Vertical(id="told"):
                yield self.history
                yield self._events

    async def show(self, seen: Seen | None) -> None:
        """Brings all of it up to date; cheap when nothing is new."""
        if seen is None:
            self._head.update(Text(_NONE, "dim"))
            return
        self._head.update(self._title(seen))
        if self._known != (seen.record.id, seen.tally.seen):
            past = await past_of(seen.record)
            self._known = (seen.record.id, seen.tally.seen)
            self.history.show(seen.record.id, past)
            self._events.show(past.events)
        if seen.running:
            await self._output.follow(seen)
        else:
            await self._output.recall(seen, self.history.selected)

    def _title(self, seen: Seen) -> Text:
        state, colour = state_of(seen)
        record = seen.record
        where = f"{seen.provider}  ·  {record.repository or 'no repository'}  ·  began {age(record.created_at)}"
        return Text.assemble(
            (f"{state}  ", self.app.theme_variables.get(colour, colour)),
            line(record.session, "bold", 120),
            "   ",
            line(where, "dim", 200),
        )
