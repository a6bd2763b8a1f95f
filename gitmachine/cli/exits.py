"""With what number the command line ends, and how an error is said there.

A command's own exit code is passed through. For what goes wrong outside the command the numbers are those of
sysexits.h where it has one; since a command may end with any of them itself, `--json` says which it was.
"""

from __future__ import annotations

import enum

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
    MachineError,
    MachineUnreachable,
    MergeBlocked,
    MissingExtra,
    PushHeld,
    PushRejected,
    RemoteUnreachable,
    RepositoryNotFound,
    SessionBusy,
    SessionError,
    SessionNotFound,
    StateError,
    VaultError,
)


class Exit(enum.IntEnum):
    """What each number means, in words for `--help`."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Exit:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    NOT_USABLE = 1, "doctor, demo, verify: something is not as it should be"
    USAGE = 2, "the command line itself is wrong"
    BAD_INPUT = 64, "an argument is wrong, or the call does not fit the session's state"
    REFUSED = 65, "git refused: push rejected or held, merge blocked; the work is safe"
    NOT_FOUND = 66, "no such session, repository, branch or checkpoint"
    NO_MACHINE = 69, "the machine cannot be started, or has ended"
    INTERNAL = 70, "anything else"
    NOT_SAFE = 74, "work could not be brought out; the machine is kept"
    TRY_AGAIN = 75, "the remote did not answer, or the session is in use"
    NO_PERMISSION = 77, "the remote refused the credentials"
    MISSING_EXTRA = 78, "an optional dependency is not installed"
    TIMED_OUT = 124, "run: the command was ended by --timeout"
    INTERRUPTED = 130, "Ctrl-C (143: SIGTERM); the work is kept"
    CLOSED_PIPE = 141, "the reader of the output went away"


_BY_ERROR: tuple[tuple[type[GitMachineError], Exit], ...] = (
    # The more particular ones first.
    (MissingExtra, Exit.MISSING_EXTRA),
    (SessionNotFound, Exit.NOT_FOUND),
    (RepositoryNotFound, Exit.NOT_FOUND),
    (BranchNotFound, Exit.NOT_FOUND),
    (CheckpointNotFound, Exit.NOT_FOUND),
    (SessionBusy, Exit.TRY_AGAIN),
    (MachineUnreachable, Exit.TRY_AGAIN),
    (RemoteUnreachable, Exit.TRY_AGAIN),
    (AuthenticationFailed, Exit.NO_PERMISSION),
    (PushRejected, Exit.REFUSED),
    (PushHeld, Exit.REFUSED),
    (MergeBlocked, Exit.REFUSED),
    (CaptureFailed, Exit.NOT_SAFE),
    (VaultError, Exit.NOT_SAFE),
    (ConfigurationError, Exit.BAD_INPUT),
    (FileError, Exit.BAD_INPUT),
    (StateError, Exit.BAD_INPUT),
    (MachineError, Exit.NO_MACHINE),
    (GitError, Exit.INTERNAL),
    (SessionError, Exit.INTERNAL),
    (CallbackError, Exit.INTERNAL),
)


def exit_for(error: GitMachineError) -> Exit:
    """The number that an error ends the command line with."""
    return next((number for kind, number in _BY_ERROR if isinstance(error, kind)), Exit.INTERNAL)


def described() -> str:
    """The table for `--help`."""
    return "\n".join(f"  {number.value:<4} {number.meaning}" for number in Exit)
