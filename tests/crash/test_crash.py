"""What `python -m tests.crash` does at random instants, at chosen ones: each fault before, in and after a command."""

from __future__ import annotations

import random

import pytest

from tests.crash.faults import faults
from tests.crash.series import follow
from tests.crash.trial import MOMENTS, Instant

COMMANDS = 9
"""Enough for a commit of the agent, one of ours, a pause and removed files."""
SEED = 5


@pytest.mark.timeout(400)
def test_no_finished_command_is_lost_whatever_dies_and_when() -> None:
    chance = random.Random(SEED)
    # Each fault at two of the three moments, each moment with most of the faults.
    chosen = [(fault, MOMENTS[(n + turn) % 3]) for turn in range(2) for n, fault in enumerate(faults())]
    plan = [(fault, Instant(chance.randint(2, COMMANDS), 0, COMMANDS, moment)) for fault, moment in chosen]
    trials, corruption = follow(plan, tell=lambda trial: None)
    assert len(trials) == len(plan)
    assert not [(trial.fault, trial.instant, trial.problems) for trial in trials if trial.problems]
    assert not corruption
