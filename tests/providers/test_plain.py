"""The cookbook's provider of ten members keeps the contract, but for what needs more than ten members."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitmachine.machine import Machine
from tests.providers.plain import PlainMachine

from custom_provider_test import TestDirectoryMachine  # isort: skip  (found by what `plain` does)


class TestPlainMachine(TestDirectoryMachine):
    @pytest.fixture
    def machine(self, state_dir: Path) -> Machine:
        return PlainMachine()


del TestDirectoryMachine  # or it would run here a second time
