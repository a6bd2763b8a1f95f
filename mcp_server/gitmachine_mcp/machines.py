"""The machine that the operator chose."""

from __future__ import annotations

from typing import Any

from gitmachine.errors import ConfigurationError
from gitmachine.machine import Machine
from gitmachine.providers import provider
from gitmachine_mcp.options import Options


def new_machine(options: Options) -> Machine:
    """A machine that was not started. Raises ConfigurationError, MissingExtra."""
    chosen = provider(options.machine)
    arguments: dict[str, Any] = {"network": options.network} if options.machine in ("local", "docker") else {}
    if options.image is not None:
        if options.machine != "docker":
            raise ConfigurationError(f"--image is for --machine docker, not {options.machine}: leave it out")
        arguments["image"] = options.image
    machine: Machine = chosen(**arguments)
    return machine
