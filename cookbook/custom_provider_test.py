"""How do I know that my provider keeps its promises? `python -m pytest custom_provider_test.py`"""

from collections.abc import Mapping
from typing import ClassVar

import pytest

from custom_provider import DirectoryMachine
from gitmachine import Machine
from gitmachine.testing import MachineContract

_GROUP = "it kills a process group, and what has left the group is out of its sight"
_RUNS_ON = "its pause() only notes the state: processes run on"


class TestDirectoryMachine(MachineContract):
    deviations: ClassVar[Mapping[str, str]] = {
        "test_a_deadline_kills_what_moved_to_its_own_session": _GROUP,
        "test_a_deadline_kills_daemons_forked_twice": _GROUP,
        "test_nothing_runs_while_a_machine_is_paused": _RUNS_ON,
        "test_memory_is_kept_over_a_pause_where_the_machine_says_so": _RUNS_ON,
    }

    @pytest.fixture
    def machine(self) -> Machine:
        return DirectoryMachine()
