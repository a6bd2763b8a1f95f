"""One suite for every provider: what a machine promises, as tests that a provider's author runs.

Needs pytest and nothing else. A provider's whole test file:

    from gitmachine.testing import MachineContract

    class TestMyMachine(MachineContract):
        deviations = {"test_nothing_runs_while_a_machine_is_paused": "the service has no pause"}

        @pytest.fixture
        def machine(self) -> Machine:
            return MyMachine()

The fixture gives an idle machine; the suite starts it, and always stops it. Each test has a machine and an
event loop of its own. `deviations` names the tests that the provider does not pass, with the reason. They are
run all the same: one that passes after all is a failure, and so is a name that is no test's. `limit_s` is how
long one behaviour may take, `grace_s` how long the provider may need for a kill.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{module}" for module in ("_commands", "_output", "_endings", "_files", "_lifecycle", "_processes"))
)

from gitmachine.testing._contract import MachineContract  # noqa: E402  (after the line above, for its effect)

__all__ = ["MachineContract"]
