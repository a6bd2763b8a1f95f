"""The contract: all the rows together."""

from __future__ import annotations

from gitmachine.testing._commands import Commands
from gitmachine.testing._endings import Endings
from gitmachine.testing._files import Files
from gitmachine.testing._lifecycle import Lifecycle
from gitmachine.testing._output import Output
from gitmachine.testing._processes import Processes


class MachineContract(Lifecycle, Commands, Output, Endings, Files, Processes):
    """What `gitmachine.machine` promises of a machine. Derive a test class from it; see the package."""
