"""What covers the view for a moment: a diff, and a question."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Footer, RichLog, Static

from gitmachine.visible import beginning
from gitmachine.watch.text import line

_MAX_LINES = 20_000
_MAX_CHARACTERS = 4_000_000
_COLOURS = (("+++", "bold"), ("---", "bold"), ("diff ", "bold"), ("@@", "accent"), ("+", "success"), ("-", "error"))


class Patch(ModalScreen[None]):
    """A patch, line for line in its colours."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,d", "dismiss", "Back"),
        Binding("up,k", "scroll(-1)", "Up", show=False),
        Binding("down,j", "scroll(1)", "Down", show=False),
    ]

    def __init__(self, title: str, patch: str) -> None:
        super().__init__()
        self._title = title
        self._patch = patch

    def compose(self) -> ComposeResult:
        log = RichLog(id="patch", wrap=False, min_width=0, auto_scroll=False, max_lines=_MAX_LINES + 1)
        log.border_title = line(self._title, "", 100)
        yield log
        yield Footer()

    def on_mount(self) -> None:
        log = self.query_one(RichLog)
        shown, left_out = beginning(self._patch.rstrip("\n"), _MAX_LINES, _MAX_CHARACTERS)
        for text in shown.split("\n"):
            log.write(line(text, self._colour(text)))
        if not self._patch:
            log.write(Text("nothing was changed", "dim"))
        if left_out:
            log.write(Text(f"… {left_out:,} lines more: `gitmachine diff` has them", "dim italic"))
        log.focus()

    def _colour(self, text: str) -> str:
        name = next((colour for prefix, colour in _COLOURS if text.startswith(prefix)), "")
        return self.app.theme_variables.get(name, name)

    def action_scroll(self, lines: int) -> None:
        self.query_one(RichLog).scroll_relative(y=lines, animate=False)


class Ask(ModalScreen[bool]):
    """A question; true when the answer is yes. What does nothing has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
        Binding("left,right", "app.focus_next", "Other", show=False),
    ]

    def __init__(self, question: Text, yes: str) -> None:
        super().__init__()
        self._question = question
        self._yes = yes

    def compose(self) -> ComposeResult:
        with Vertical(id="ask"):
            yield Static(self._question, markup=False)
            with Horizontal():
                yield Button(self._yes, id="yes", variant="error")
                yield Button("No, leave it (n)", id="no")

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
