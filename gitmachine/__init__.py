"""A sandboxed machine with a git repository in it: every session is a branch, nothing is lost, no secret goes in.

`import gitmachine` needs pydantic and the standard library, and loads them, as it does providers and the SDKs that
they need, when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gitmachine.errors import (
    AuthenticationFailed,
    BranchNotFound,
    CallbackError,
    CaptureFailed,
    CheckpointNotFound,
    ConfigurationError,
    FileError,
    GitError,
    GitMachineError,
    InvalidSessionName,
    MachineError,
    MachineLost,
    MachineNotFound,
    MachineUnavailable,
    MachineUnreachable,
    MergeBlocked,
    MissingExtra,
    PushHeld,
    PushRejected,
    Quarantined,
    RemoteUnreachable,
    RepositoryError,
    RepositoryNotFound,
    SessionBusy,
    SessionError,
    SessionNotFound,
    StateError,
    VaultError,
)

if TYPE_CHECKING:
    from gitmachine.events import Event
    from gitmachine.git.blame import BlameLine
    from gitmachine.git.chain import HistoryEntry
    from gitmachine.git.guard import Guard
    from gitmachine.git.verify import Verification
    from gitmachine.git_machine import GitMachine
    from gitmachine.machine import Machine
    from gitmachine.machines.docker import DockerMachine
    from gitmachine.machines.e2b import E2BMachine
    from gitmachine.machines.local import Limits, LocalMachine
    from gitmachine.process import Process
    from gitmachine.project.consent import Consent
    from gitmachine.rewinding import Rewind
    from gitmachine.sessions import Registry, SessionRecord
    from gitmachine.status import Status
    from gitmachine.types import (
        Actor,
        Capabilities,
        ExecuteOptions,
        ExecutionResult,
        GitIdentity,
        LogEntry,
        MachineState,
        PullOutcome,
        PushOutcome,
        Refusal,
        RunOptions,
        Wishes,
    )

_TYPES = (
    "Actor",
    "Capabilities",
    "ExecuteOptions",
    "ExecutionResult",
    "GitIdentity",
    "LogEntry",
    "MachineState",
    "PullOutcome",
    "PushOutcome",
    "Refusal",
    "RunOptions",
    "Wishes",
)
# What takes time to load, most of it pydantic's.
_LAZY = {
    **dict.fromkeys(_TYPES, "gitmachine.types"),
    "BlameLine": "gitmachine.git.blame",
    "DockerMachine": "gitmachine.machines.docker",
    "Consent": "gitmachine.project.consent",
    "E2BMachine": "gitmachine.machines.e2b",
    "Event": "gitmachine.events",
    "GitMachine": "gitmachine.git_machine",
    "Guard": "gitmachine.git.guard",
    "HistoryEntry": "gitmachine.git.chain",
    "Limits": "gitmachine.machines.local",
    "LocalMachine": "gitmachine.machines.local",
    "Machine": "gitmachine.machine",
    "Process": "gitmachine.process",
    "Registry": "gitmachine.sessions",
    "Rewind": "gitmachine.rewinding",
    "SessionRecord": "gitmachine.sessions",
    "Status": "gitmachine.status",
    "Verification": "gitmachine.git.verify",
}

__all__ = [
    "Actor",
    "AuthenticationFailed",
    "BlameLine",
    "BranchNotFound",
    "CallbackError",
    "Capabilities",
    "CaptureFailed",
    "CheckpointNotFound",
    "ConfigurationError",
    "Consent",
    "DockerMachine",
    "E2BMachine",
    "Event",
    "ExecuteOptions",
    "ExecutionResult",
    "FileError",
    "GitError",
    "GitIdentity",
    "GitMachine",
    "GitMachineError",
    "Guard",
    "HistoryEntry",
    "InvalidSessionName",
    "Limits",
    "LocalMachine",
    "LogEntry",
    "Machine",
    "MachineError",
    "MachineLost",
    "MachineNotFound",
    "MachineState",
    "MachineUnavailable",
    "MachineUnreachable",
    "MergeBlocked",
    "MissingExtra",
    "Process",
    "PullOutcome",
    "PushHeld",
    "PushOutcome",
    "PushRejected",
    "Quarantined",
    "Refusal",
    "Registry",
    "RemoteUnreachable",
    "RepositoryError",
    "RepositoryNotFound",
    "Rewind",
    "RunOptions",
    "SessionBusy",
    "SessionError",
    "SessionNotFound",
    "SessionRecord",
    "StateError",
    "Status",
    "VaultError",
    "Verification",
    "Wishes",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
