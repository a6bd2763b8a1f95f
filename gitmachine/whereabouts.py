"""Whether a session's machine is there, asked of the machine and not of the record."""

from __future__ import annotations

from dataclasses import dataclass

from gitmachine.errors import ConfigurationError, MachineError, MachineUnreachable
from gitmachine.opening import machine_of
from gitmachine.sessions import SessionRecord
from gitmachine.types import MachineState

LIVE = (MachineState.RUNNING, MachineState.PAUSED)
LOST = "lost"
"""Shown for a session whose machine has ended without being stopped. Its work up to the last command is kept."""

UNKNOWN = "unknown"
"""Shown for a session whose provider did not answer, or could not be asked."""


@dataclass(frozen=True, slots=True)
class Found:
    """A session of this host, and how its machine is at this moment."""

    record: SessionRecord
    state: str
    """A MachineState, LOST or UNKNOWN."""

    @property
    def live(self) -> bool:
        return self.state in LIVE


async def look(record: SessionRecord) -> Found:
    """Asks the machine of a session for its state."""
    if record.machine is None or record.state is MachineState.STOPPED:
        return Found(record, MachineState.STOPPED)
    try:
        machine = await machine_of(record, only_look=True)
    except (MachineUnreachable, ConfigurationError):
        return Found(record, UNKNOWN)
    except MachineError:
        return Found(record, LOST)
    try:
        return Found(record, LOST if machine.state is MachineState.STOPPED else machine.state)
    finally:
        await machine.aclose()
