"""What the tools hand to programs: `ToolMessage.artifact`, plain dictionaries that any checkpointer can keep."""

from __future__ import annotations

from typing import Literal, TypedDict

from gitmachine import ExecutionResult, LogEntry, PullOutcome, PushOutcome, Status


class RunArtifact(TypedDict):
    """A command's end. A non-zero exit is a result: the message's status is `success`."""

    exit_code: int
    stdout: str
    """Cut as the message is."""
    stderr: str
    timed_out: bool
    truncated: bool
    duration: float
    notices: list[str]
    """What the machine kept the command from: a limit that was reached, a connection that was refused."""
    full_output: str | None
    """The file in the machine with all of the output, when it was cut."""


class DiffArtifact(TypedDict):
    diff: str
    """All of it."""
    truncated: bool
    """The message has its head and tail only."""


class CommitArtifact(TypedDict):
    sha: str | None
    """None when there was nothing to commit."""
    message: str | None


class PushArtifact(TypedDict):
    where: Literal["remote", "rescue", "vault", "nothing"]
    sha: str | None
    ref: str | None
    reason: str | None


class PullArtifact(TypedDict):
    sha: str | None
    updated: bool
    conflicts: list[str]


class StateArtifact(TypedDict):
    state: str
    session: str


class StatusArtifact(TypedDict):
    session: str
    machine: str | None
    state: str
    head: str | None
    branch: str | None
    tip: str | None
    remote: str | None
    unpushed: bool
    changes: list[dict[str, str]]


class LogsArtifact(TypedDict):
    commands: list[dict[str, str | int | float]]


class FileArtifact(TypedDict):
    path: str
    size: int
    """Characters."""


class ListArtifact(TypedDict):
    path: str
    names: list[str]


def run_artifact(result: ExecutionResult, stdout: str, stderr: str, full_output: str | None) -> RunArtifact:
    return RunArtifact(
        exit_code=result.exit_code,
        stdout=stdout,
        stderr=stderr,
        timed_out=result.timed_out,
        truncated=result.truncated or stdout != result.stdout or stderr != result.stderr,
        duration=result.duration,
        notices=result.notices,
        full_output=full_output,
    )


def push_artifact(outcome: PushOutcome) -> PushArtifact:
    return PushArtifact(where=outcome.where, sha=outcome.sha, ref=outcome.ref, reason=outcome.reason)


def pull_artifact(outcome: PullOutcome) -> PullArtifact:
    return PullArtifact(sha=outcome.sha, updated=outcome.updated, conflicts=list(outcome.conflicts))


def status_artifact(status: Status) -> StatusArtifact:
    return StatusArtifact(
        session=status.session,
        machine=status.machine,
        state=status.state.value,
        head=status.head,
        branch=status.branch,
        tip=status.tip,
        remote=status.remote,
        unpushed=status.unpushed,
        changes=[{"status": change.status, "path": change.path} for change in status.changes],
    )


def logs_artifact(entries: list[LogEntry]) -> LogsArtifact:
    return LogsArtifact(
        commands=[
            {
                "command": entry.command,
                "exit_code": entry.result.exit_code,
                "started": entry.timestamp,
                "duration": entry.result.duration,
            }
            for entry in entries
        ]
    )
