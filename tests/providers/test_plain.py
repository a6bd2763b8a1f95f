"""A provider of ten members keeps the contract, but for what needs more than ten members."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from gitmachine.machine import Machine
from gitmachine.testing import MachineContract
from tests.providers.plain import PlainMachine

_GROUP = "it kills a process group, and what has left the group is out of its sight"
_RUNS_ON = "its pause() only notes the state: processes run on"


class TestPlainMachine(MachineContract):
    deviations: ClassVar[Mapping[str, str]] = {
        "test_a_deadline_kills_what_moved_to_its_own_session": _GROUP,
        "test_a_deadline_kills_daemons_forked_twice": _GROUP,
        "test_nothing_runs_while_a_machine_is_paused": _RUNS_ON,
        "test_memory_is_kept_over_a_pause_where_the_machine_says_so": _RUNS_ON,
    }

    @pytest.fixture
    def machine(self, state_dir: Path) -> Machine:
        return PlainMachine()
