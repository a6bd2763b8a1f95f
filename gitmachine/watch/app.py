"""The view: a table of sessions above, the selected one below, keys that act on it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Static

from gitmachine.errors import GitMachineError
from gitmachine.git.chain import HistoryEntry
from gitmachine.overview import Seen
from gitmachine.types import MachineState
from gitmachine.visible import plain
from gitmachine.watch import doing
from gitmachine.watch.detail import Detail, History
from gitmachine.watch.looking import Looker, patch_of
from gitmachine.watch.screens import Ask, Patch
from gitmachine.watch.table import SessionTable
from gitmachine.watch.text import line

LOOK_S = 0.25
"""How often the files are looked at."""


class Watch(App[None]):
    """All sessions of this host. Whoever drives them knows nothing of it."""

    TITLE = "GitMachine"
    CSS_PATH = "watch.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 (an instance variable, says Textual)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause"),
        Binding("r", "resume", "Resume"),
        Binding("d", "diff", "Diff"),
        Binding("enter", "entry", "Diff of entry", show=False),
        Binding("a", "attach", "Attach"),
        Binding("s", "stop", "Stop"),
        Binding("e", "ended", "Ended"),
        Binding("tab", "focus_next", "Next pane"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, shell: Sequence[str]) -> None:
        super().__init__()
        self.theme = "tokyo-night"
        self._shell = tuple(shell)
        self._bar = Static(id="bar", markup=False)
        self._table = SessionTable()
        self._detail = Detail()
        self._looker = Looker()
        self._sessions: dict[str, Seen] = {}
        self._with_ended = True
        self._turn = asyncio.Lock()

    def compose(self) -> ComposeResult:
        yield self._bar
        yield self._table
        yield self._detail
        yield Footer()

    async def on_mount(self) -> None:
        self._table.focus()
        await self.look()
        self.set_interval(LOOK_S, self.look)

    # --- what is shown ----------------------------------------------------------------------------------

    async def look(self) -> None:
        """Brings everything up to date."""
        if self._turn.locked():
            return
        async with self._turn:
            found = await self._looker.look()
            self._sessions = {one.record.id: one for one in found}
            self._table.show([one for one in found if self._with_ended or one.state != MachineState.STOPPED])
            self._bar.update(_counted(found))
            await self._detail.show(self.selected)

    @property
    def selected(self) -> Seen | None:
        """The session that the keys are for."""
        return self._sessions.get(self._table.selected or "")

    @property
    def entry(self) -> HistoryEntry | None:
        """The entry of its history that is selected."""
        return self._detail.history.selected

    async def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        del event
        async with self._turn:
            await self._detail.show(self.selected)

    async def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if isinstance(event.data_table, History) and self.entry is not None:
            self._show_patch(self.entry.number)
        elif isinstance(event.data_table, SessionTable):
            self._detail.history.focus()

    # --- the keys ---------------------------------------------------------------------------------------

    def action_pause(self) -> None:
        self._act("pause", doing.pause)

    def action_resume(self) -> None:
        self._act("resume", doing.resume)

    @work
    async def action_stop(self) -> None:
        seen = self.selected
        if seen is None:
            return
        if not seen.live:
            self._say(f"{seen.record.session} has no machine to end", "warning")
            return
        question = Text.assemble("Commit, push and end ", line(seen.record.session, "bold", 80), "?\n\n")
        question.append("Its machine goes only when the work is safe.", "dim")
        if await self.push_screen_wait(Ask(question, "Yes, end it (y)")):
            self._act("stop", doing.stop, seen)

    def action_diff(self) -> None:
        self._show_patch(None)

    def action_ended(self) -> None:
        self._with_ended = not self._with_ended
        self.run_worker(self.look())

    def action_attach(self) -> None:
        """The view waits while the user is in the session's shell."""
        seen = self.selected
        if seen is None:
            return
        if seen.state != MachineState.RUNNING:
            self._say(f"{seen.record.session} is not running: resume it first", "warning")
            return
        try:
            with self.suspend():
                subprocess.run([*self._shell, seen.record.id], check=False)
        except SuspendNotSupported:
            self._say("this terminal cannot be handed over: use `gitmachine shell`", "error")

    @work
    async def _act(self, name: str, act: Callable[[Seen], Awaitable[str]], seen: Seen | None = None) -> None:
        """Does it while the view goes on, and says how it went."""
        chosen = seen or self.selected
        if chosen is None:
            return
        session = chosen.record.session
        try:
            self._say(f"{session} {await act(chosen)}", "information")
        except (GitMachineError, OSError) as error:
            self._say(f"{name} {session}: {error}", "error")
        await self.look()

    @work
    async def _show_patch(self, number: int | None) -> None:
        seen = self.selected
        if seen is None:
            return
        try:
            patch = await patch_of(seen.record, number)
        except (GitMachineError, OSError) as error:
            self._say(f"diff {seen.record.session}: {error}", "error")
            return
        what = "all that it has changed" if number is None else f"what #{number} changed"
        await self.push_screen(Patch(f"{seen.record.session}: {what}", patch))

    def _say(self, text: str, severity: str) -> None:
        self.notify(plain(text), severity=severity, markup=False, timeout=8)  # type: ignore[arg-type]


def _counted(sessions: Sequence[Seen]) -> Text:
    states = [one.state for one in sessions]
    running = sum(len(one.running) for one in sessions)
    words = [
        f"{states.count(MachineState.RUNNING)} running",
        f"{states.count(MachineState.PAUSED)} paused",
        f"{states.count(MachineState.STOPPED)} ended",
        f"{running} {'command' if running == 1 else 'commands'} at work",
    ]
    return Text.assemble((" GitMachine ", "bold reverse"), "  ", ("  ·  ".join(words), "dim"))
