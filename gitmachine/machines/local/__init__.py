"""LocalMachine: a sandbox on this host's own kernel, by bubblewrap."""

from gitmachine.machines.local.limits import Limits
from gitmachine.machines.local.machine import LocalMachine

__all__ = ["Limits", "LocalMachine"]
