"""Everything that GitMachine raises, as one tree.

    GitMachineError
    ├── ConfigurationError (ValueError)      bad input; nothing was changed
    │   ├── InvalidSessionName
    │   └── MissingExtra (ImportError)       an optional dependency is not installed
    ├── StateError (RuntimeError)            the call does not fit the state; names the call that does
    ├── SessionError
    │   ├── SessionNotFound (LookupError)
    │   └── SessionBusy (TimeoutError)       another door holds the session's lock
    ├── CallbackError                        on_start, on_end … raised; the cause is chained
    ├── MachineError                         the machine failed, not the command in it
    │   ├── MachineUnavailable               it cannot be started here; says why and how to mend it
    │   ├── MachineNotFound (LookupError)
    │   ├── MachineUnreachable               the provider did not answer; may be retried
    │   ├── MachineLost                      it ended under us
    │   └── ProcessNotFound (LookupError)    no background command has that id
    ├── FileError (OSError)                  a file call failed in the machine
    └── GitError                             git's failure, with argv, exit code and redacted stderr
        ├── RepositoryError
        │   ├── RepositoryNotFound           no repository there, or not one we may see
        │   ├── AuthenticationFailed
        │   └── RemoteUnreachable            may be retried
        ├── BranchNotFound (LookupError)
        ├── CheckpointNotFound (LookupError) the session's history has no such number
        ├── PushRejected                     the remote refused; `outcome` says where the work is
        ├── PushHeld                         the guard kept the push back; `outcome.held` names the paths
        ├── MergeBlocked                     local changes stand in the way of a pull
        ├── CaptureFailed                    the working tree could not be brought out; the machine is kept
        └── VaultError                       the host's store refused or failed
            └── Quarantined                  what came out of a machine failed verification

Ask first whose failure it is. The command's is a result with its exit code and never in this tree.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from gitmachine.types import PushOutcome


class GitMachineError(Exception):
    """Base of everything that GitMachine raises on purpose."""

    retryable: ClassVar[bool] = False
    """The same call may succeed later without anything being changed."""


class ConfigurationError(GitMachineError, ValueError):
    """An argument, a setting or a file is wrong. Raised before anything is changed."""


class InvalidSessionName(ConfigurationError):
    """The session's name cannot be a branch."""


class MissingExtra(ConfigurationError, ImportError):
    """An optional dependency is not installed; the message has the line that installs it."""


class StateError(GitMachineError, RuntimeError):
    """The call does not fit the state of the machine or session."""


class SessionError(GitMachineError):
    """A session's record could not be found, read or locked."""


class SessionNotFound(SessionError, LookupError):
    """No session of that name is known on this host."""


class SessionBusy(SessionError, TimeoutError):
    """Another process or task held the session for longer than we were ready to wait."""

    retryable = True


class CallbackError(GitMachineError):
    """A lifecycle callback raised; its exception is the cause."""


class MachineError(GitMachineError):
    """The machine failed, not the command that ran in it."""


class MachineUnavailable(MachineError):
    """The provider cannot start a machine here; the message says why and what would mend it."""


class MachineNotFound(MachineError, LookupError):
    """No live machine has that id."""


class MachineUnreachable(MachineError):
    """The provider or its machine did not answer, or was too busy. Tried again, where that was safe, before this."""

    retryable = True


class MachineLost(MachineError):
    """The machine ended while it was in use."""


class ProcessNotFound(MachineError, LookupError):
    """No background command of that id was started in the machine."""


class FileError(GitMachineError, OSError):
    """A file call failed inside the machine."""


class GitError(GitMachineError):
    """git failed. `argv` and `stderr` never hold a credential."""

    def __init__(
        self,
        message: str,
        *,
        argv: Sequence[str] = (),
        exit_code: int | None = None,
        stderr: str = "",
    ) -> None:
        super().__init__(message)
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stderr = stderr

    def __str__(self) -> str:
        text = super().__str__()
        if self.argv:
            text += f"\n  {shlex.join(self.argv)} exited with {self.exit_code}"
        if self.stderr.strip():
            text += "\n  " + self.stderr.strip()[-2000:].replace("\n", "\n  ")
        return text


class RepositoryError(GitError):
    """The repository could not be used."""


class RepositoryNotFound(RepositoryError):
    """There is no repository at that address, or none that these credentials may see."""


class AuthenticationFailed(RepositoryError):
    """The remote refused the credentials."""


class RemoteUnreachable(RepositoryError):
    """The remote did not answer. Retried with backoff before this is raised."""

    retryable = True

    outcome: PushOutcome | None = None
    """When a push failed: where the work is instead."""


class BranchNotFound(GitError, LookupError):
    """The branch or ref is on neither the remote nor the vault."""


class CheckpointNotFound(GitError, LookupError):
    """The session's history has no entry of that number, or it has no checkpoint."""


class _NotPushed(GitError):
    def __init__(self, message: str, *, outcome: PushOutcome, argv: Sequence[str] = (), stderr: str = "") -> None:
        super().__init__(message, argv=argv, exit_code=1 if argv else None, stderr=stderr)
        self.outcome = outcome


class PushRejected(_NotPushed):
    """The remote did not take the session branch. `outcome` says where the work is instead."""


class PushHeld(_NotPushed):
    """The guard kept the push back because of what it would publish; `outcome.held` names the paths."""


class MergeBlocked(GitError):
    """git refused to merge over changes that are not committed."""


class CaptureFailed(GitError):
    """The working tree could not be brought out of the machine. The machine is kept."""


class VaultError(GitError):
    """The host's store could not take or give objects."""


class Quarantined(VaultError):
    """What came out of a machine did not pass verification and was thrown away."""
