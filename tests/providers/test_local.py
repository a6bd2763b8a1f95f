"""LocalMachine keeps the whole contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitmachine.machine import Machine
from gitmachine.machines.local import LocalMachine
from gitmachine.testing import MachineContract


class TestLocalMachine(MachineContract):
    @pytest.fixture
    def machine(self, state_dir: Path) -> Machine:
        return LocalMachine()
