"""E2BMachine keeps the contract, over the real protocol by the real SDK."""

from __future__ import annotations

import pytest

from gitmachine.machine import Machine
from gitmachine.machines.e2b import E2BMachine
from gitmachine.testing import MachineContract
from tests.e2b_endpoint import E2BEndpoint
from tests.support.e2b import e2b, e2b_endpoint

__all__ = ["e2b", "e2b_endpoint"]


class TestE2BMachine(MachineContract):
    @pytest.fixture
    def machine(self, e2b: E2BEndpoint) -> Machine:
        return E2BMachine()
