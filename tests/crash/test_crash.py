"""A bounded share of `python -m tests.crash`: the same instants each time."""

from __future__ import annotations

import pytest

from tests.crash.series import series

INSTANTS = 25
COMMANDS = 9
"""Enough for a commit of the agent, one of ours, a pause and removed files."""
SEED = 5


@pytest.mark.timeout(400)
def test_no_finished_command_is_lost_whatever_dies_and_when() -> None:
    trials, corruption = series(INSTANTS, SEED, tell=lambda trial: None, commands=COMMANDS)
    assert len(trials) == INSTANTS
    assert not [(trial.fault, trial.instant, trial.problems) for trial in trials if trial.problems]
    assert not corruption
