"""The machine that the operator chose."""

from __future__ import annotations

from gitmachine.machine import Machine
from gitmachine.providers import provider
from gitmachine_mcp.options import Options


def new_machine(options: Options) -> Machine:
    """A machine that was not started. Raises ConfigurationError, MissingExtra."""
    chosen = provider(options.machine)
    arguments = {"network": options.network} if options.machine == "local" else {}
    machine: Machine = chosen(**arguments)
    return machine
