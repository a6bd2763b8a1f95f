"""What happens in a session, as types. `gitmachine.event_log` numbers and keeps them.

The names and the keys of the data are public: `on_event(event, data, gm)` receives `event.name` and
`event.data()`. Keys may join, none goes. An event is written after the fact, never before.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

OWN = {"seq", "at"}
"""What every event has beside its own keys."""


class Event(BaseModel):
    """One thing that happened. `seq` counts from 1 within a session, without gaps."""

    # Two dozen kinds: each is built when the first of it happens, not when this is imported.
    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    name: ClassVar[str] = ""
    seq: int = 0
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    def data(self) -> dict[str, Any]:
        """The event's own keys."""
        return self.model_dump(mode="json", exclude=OWN)


class Started(Event):
    """The machine is up and the session branch is checked out."""

    name = "started"
    session: str
    repo_path: str
    sha: str | None = None
    """The commit the session stands on; None in an empty repository."""
    offline: bool = False
    """The remote could not be reached: the session goes on from what the vault has."""


class Paused(Event):
    """Every process of the machine is frozen; the work is in the vault."""

    name = "paused"


class Resumed(Event):
    """The machine goes on."""

    name = "resumed"


class Stopping(Event):
    """The work is safe; the machine is about to go."""

    name = "stopping"


class Stopped(Event):
    """The machine is gone."""

    name = "stopped"


class Committed(Event):
    """The session branch has a commit more; the vault has it, the remote not yet."""

    name = "committed"
    sha: str
    message: str
    withheld: list[dict[str, str]] = []
    """Paths that the guard kept out of the commit, each with its reason. The vault has them."""


class Withheld(Event):
    """There was something to commit, but the guard kept all of it out. The vault has it."""

    name = "withheld"
    withheld: list[dict[str, str]]


class Pushed(Event):
    """The remote has the commit."""

    name = "pushed"
    sha: str | None = None
    branch: str | None = None


class PushRejected(Event):
    """The remote did not take the session branch."""

    name = "push_rejected"
    reason: str
    where: str
    """`rescue` or `vault`: where the work is instead."""
    ref: str | None = None
    sha: str | None = None


class PushHeld(Event):
    """The guard kept a push back because of the paths it would publish."""

    name = "push_held"
    paths: list[str]
    ref: str | None = None


class Pulled(Event):
    """The remote's session branch is in the checkout, perhaps with conflicts."""

    name = "pulled"
    sha: str | None = None
    conflicts: list[str] = []


class Reconnected(Event):
    """A program has taken up the session on its live machine."""

    name = "reconnected"
    id: str | None


class CommandStarted(Event):
    """A command begins."""

    name = "command_started"
    command: str
    id: str = ""
    """Stands in `command_finished` again; the number in the history is known at the end only."""


class CommandFinished(Event):
    """A command has ended and, by default, what it left is in the vault."""

    name = "command_finished"
    number: int
    """In the session's history."""
    exit_code: int
    duration: float
    timed_out: bool = False
    truncated: bool = False
    exceeded: list[str] = []
    """Limits of the machine that were run into: memory, processes, disk."""
    id: str = ""
    entry: str = ""
    """The name of the entry in the history; `verify` compares them."""


class ProjectRead(Event):
    """The repository asks for something by a file of its own."""

    name = "project"
    file: str
    granted: list[str]
    refused: list[str]
    """What it does not get, each with how to allow it."""


class SetupFailed(Event):
    """A setup command of the repository failed; those after it were not run. The session goes on."""

    name = "setup_failed"
    command: str
    exit_code: int
    output: str
    """Its end."""
    skipped: int = 0


class NetworkRefused(Event):
    """The machine's network policy kept a connection from being made."""

    name = "network_refused"
    host: str
    port: int
    reason: str


class Checkpointed(Event):
    """The vault has the whole working tree."""

    name = "checkpointed"
    sha: str
    tree: str


class Rewound(Event):
    """The working tree is as an earlier checkpoint had it. `rewind(number - 1)` undoes it."""

    name = "rewound"
    to: int
    number: int
    """Of the entry that the rewind itself made."""
    checkpoint: str
    entry: str = ""
    left: list[str] = []
    """Files that were ignored, were left alone, and that nothing ignores any more; the first of them."""
    aside: list[str] = []
    """Files that were ignored and stood in the way; they are below `aside_path` in the machine."""
    aside_path: str = ""


class Forked(Event):
    """New sessions began from a checkpoint of this one."""

    name = "forked"
    number: int
    """Of the entry in the history that they began at."""
    sessions: list[str]
    checkpoint: str


class Recovered(Event):
    """The session goes on without the machine that it was on."""

    name = "recovered"
    checkpoint: str
    number: int
    """Of the entry in the history."""
    not_restored: list[str]
    machine: str | None = None
    """The one that is gone."""
    captured: bool = False
    """Its files were still there, and all of them were brought out."""


class Replayed(Event):
    """The commands of `on_start` were run again in a new machine; see `gitmachine.replaying`."""

    name = "replayed"
    commands: list[dict[str, Any]]
    """number (of the entry in the history), exit_code, was (the first time), without (variables it had then)."""
    skipped: list[int] = Field(default_factory=list)
    """Entries whose text held a secret, which the history does not have."""
    put_back: list[str] = Field(default_factory=list)
    """Files of the checkout that they changed and that are again as the last checkpoint had them."""


class MachineLost(Event):
    """The machine ended under the session. `GitMachine.reopen` goes on in a new one, from the last checkpoint."""

    name = "machine_lost"
    machine: str | None = None
    reason: str


class CaptureIncomplete(Event):
    """The files are safe, but something beside them could not be brought out."""

    name = "capture_incomplete"
    what: str
    reason: str


class CallbackFailed(Event):
    """One of the caller's callbacks raised or did not come back; the session went on."""

    name = "callback_failed"
    callback: str
    error: str


class Unknown(Event):
    """An event written by another version of GitMachine."""

    event: str


TYPES: dict[str, type[Event]] = {kind.name: kind for kind in Event.__subclasses__() if kind.name}
