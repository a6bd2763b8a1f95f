"""What the command line says, as functions."""

from __future__ import annotations

import pytest

from gitmachine import errors
from gitmachine.cli.exits import Exit, described, exit_for
from gitmachine.cli.screen import plain
from gitmachine.events import TYPES
from gitmachine.types import PushOutcome
from gitmachine.wording import describe

ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.GitMachineError) and not value.__name__.startswith("_")
]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_an_exit_code_that_help_explains(kind: type[errors.GitMachineError]) -> None:
    rejected = issubclass(kind, errors.PushRejected | errors.PushHeld)
    error = kind("x", outcome=PushOutcome("vault")) if rejected else kind("x")  # type: ignore[call-arg]  # of the two
    number = exit_for(error)
    assert number not in (0, 1, 2)
    assert f"{number.value:<4} {number.meaning}" in described()


def test_own_exit_codes_differ() -> None:
    assert len({number.value for number in Exit}) == len(Exit)


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "\x9b31m", "a\rb", "\x08"])
def test_text_from_a_machine_cannot_drive_a_terminal(text: str) -> None:
    assert plain(text).isprintable()


def test_lines_and_tabs_stay() -> None:
    assert plain("a\tb\nü") == "a\tb\nü"


@pytest.mark.parametrize("name", TYPES)
def test_every_event_can_be_described_from_its_keys(name: str) -> None:
    kind = TYPES[name]
    data = {key: [] if "list" in str(field.annotation) else "x" for key, field in kind.model_fields.items()}
    assert isinstance(describe(name, {**data, "duration": 1.0}), str)


def test_what_the_guard_kept_out_is_part_of_the_description() -> None:
    withheld = [{"path": ".env", "reason": "may hold secrets"}]
    said = describe("committed", {"sha": "a" * 40, "message": "First\n\nSecond", "withheld": withheld})
    assert said == "aaaaaaaaaaaa First\n    kept out: .env (may hold secrets)"
