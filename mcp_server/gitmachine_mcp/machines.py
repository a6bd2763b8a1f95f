"""The machine that the operator chose."""

from __future__ import annotations

import importlib
from typing import Any

from gitmachine.errors import ConfigurationError
from gitmachine.machine import Machine
from gitmachine_mcp.options import Options

_CLASSES = {"local": "LocalMachine", "docker": "DockerMachine", "e2b": "E2BMachine"}


def new_machine(options: Options) -> Machine:
    """A machine that was not started. Raises ConfigurationError, MissingExtra."""
    name = _CLASSES[options.machine]
    provider = getattr(importlib.import_module("gitmachine"), name, None)
    if provider is None:
        raise ConfigurationError(f"this version of gitmachine has no {name}: start the server with --machine local")
    arguments: dict[str, Any] = {} if options.machine == "e2b" else {"network": options.network}
    if options.image is not None:
        if options.machine != "docker":
            raise ConfigurationError(f"--image is for --machine docker, not {options.machine}: leave it out")
        arguments["image"] = options.image
    machine: Machine = provider(**arguments)
    return machine
