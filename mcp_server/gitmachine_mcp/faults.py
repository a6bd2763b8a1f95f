"""The one place where an error becomes something that a model reads: what went wrong, on what, what to call next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mcp.server.mcpserver.exceptions import ToolError

from gitmachine.errors import (
    AuthenticationFailed,
    BranchNotFound,
    CaptureFailed,
    CheckpointNotFound,
    ConfigurationError,
    FileError,
    GitMachineError,
    MachineLost,
    MachineNotFound,
    MachineUnavailable,
    MergeBlocked,
    ProcessNotFound,
    PushHeld,
    PushRejected,
    RemoteUnreachable,
    RepositoryNotFound,
    SessionBusy,
    StateError,
)

MAX_CHARS = 4_000

# The first that fits; of a subclass and its base the subclass stands first.
_NEXT: tuple[tuple[type[Exception], str], ...] = (
    (SessionBusy, "A command may still be running: `logs` follows it, `interrupt` ends it; then call this again."),
    (PushHeld, "If a person wants these paths published, call `push` with them in `allow`."),
    (PushRejected, "Call `pull`, settle conflicts, `commit`, then call this again. The work is safe meanwhile."),
    (MergeBlocked, "Call `commit` first, then `pull` again."),
    (AuthenticationFailed, "A person must give the server credentials (GITMACHINE_TOKEN); you cannot. Work is kept."),
    (RepositoryNotFound, "Check the address, or ask for it: private repositories need the server to have a token."),
    (RemoteUnreachable, "Try again later; the work is kept meanwhile."),
    (CheckpointNotFound, "`logs` without command_id shows the numbers."),
    (BranchNotFound, "Name a branch that exists, or leave `base` out."),
    (MachineLost, "Call `start` with `resume` and this session: its branch goes on in a new machine."),
    (MachineNotFound, "Call `start` with `resume` and this session: its branch goes on in a new machine."),
    (MachineUnavailable, "A person must mend the server's host: `gitmachine-mcp doctor` says how."),
    (ProcessNotFound, "`logs` without command_id lists the commands of this session."),
    (CaptureFailed, "Nothing was ended. Look with `status`, then call this again."),
    (StateError, "`status` shows the state; a paused session goes on with `resume`, one that ended with `start`."),
    (ConfigurationError, "Correct the argument and call this again."),
    (FileError, "`files` with op `read` or `list` shows what there is."),
    (FileNotFoundError, "`files` with op `list` shows what there is."),
    (IsADirectoryError, "Use op `list` for a directory."),
    (NotADirectoryError, "Use op `read` for a file."),
)


def explain(error: Exception) -> str:
    """The text of an error for a model, at most 4,000 characters."""
    text = str(error) if isinstance(error, GitMachineError) or not isinstance(error, OSError) else _of_os(error)
    text = " ".join([text, *getattr(error, "__notes__", ())])
    advice = next((words for kind, words in _NEXT if isinstance(error, kind)), "`status` shows how the session is.")
    return f"{text[: MAX_CHARS - len(advice) - 2]}\n{advice}"


@contextmanager
def for_a_model() -> Iterator[None]:
    """Turns what the library raises on purpose into a tool error. All else is a crash and stays masked."""
    try:
        yield
    except (GitMachineError, OSError, UnicodeError) as error:
        raise ToolError(explain(error)) from error


def _of_os(error: OSError) -> str:
    return f"{error.filename!r}: {error.strerror}" if error.filename and error.strerror else str(error)
