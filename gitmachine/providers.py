"""The providers by the names that commands take: `--machine local`, `docker`, `e2b`."""

from __future__ import annotations

import importlib

from gitmachine.errors import ConfigurationError
from gitmachine.machine import Machine

_CLASSES = {"local": "LocalMachine", "docker": "DockerMachine", "e2b": "E2BMachine"}
_OWN = "module:Class"

NAMES = tuple(_CLASSES)


def provider(name: str) -> type[Machine]:
    """The class of machines of that name, or of a `module:Class` of one's own. Nothing is loaded before.

    Raises ConfigurationError, MissingExtra.
    """
    module, _, attribute = name.partition(":") if ":" in name else ("gitmachine", ":", _CLASSES.get(name, ""))
    if not attribute:
        raise ConfigurationError(
            f"machine {name!r} is not known: use {', '.join(NAMES)}, or {_OWN} for one of your own"
        )
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"machine {name!r}: there is no module {error.name!r}") from error
    if not (isinstance(found, type) and issubclass(found, Machine)):
        raise ConfigurationError(f"machine {name!r}: {module} has no Machine {attribute}; known are {', '.join(NAMES)}")
    return found
