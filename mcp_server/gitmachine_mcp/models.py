"""What the tools answer, as data. The text beside it says the same, shorter."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

CommandState = Literal["running", "exited", "timed_out", "cancelled", "failed", "lost"]


class Started(BaseModel):
    session: str = Field(description="The handle to pass as `session`.")
    branch: str
    repository: str | None
    base_sha: str | None = Field(description="Where the session's changes are counted from.")
    head_sha: str | None
    state: str
    path: str = Field(description="The checkout in the machine.")
    expires_at: str = Field(description="Without a call until then the session is put to sleep; a call wakes it.")


class RunOutcome(BaseModel):
    session: str
    command_id: str
    state: CommandState
    exit_code: int | None = Field(description="None while it runs; 124 after a timeout, 128 + n after signal n.")
    output: str = Field(description="stdout and stderr as they came; of a long output its beginning and its end.")
    total_bytes: int
    truncated: bool
    next_cursor: str = Field(description="`logs` with this cursor reads on where `output` has its first gap or end.")
    notices: list[str] = Field(description="What the machine kept it from: a limit reached, a connection refused.")
    duration_s: float


class CommandBrief(BaseModel):
    command_id: str
    command: str
    state: CommandState
    exit_code: int | None


class Step(BaseModel):
    number: int = Field(description="`rewind` and `fork` take it.")
    kind: str
    command: str
    exit_code: int | None
    files_changed: int


class Output(BaseModel):
    session: str
    command_id: str | None
    state: CommandState | None
    exit_code: int | None
    output: str
    next_cursor: str | None
    more: bool = Field(description="There is more to read now, or there will be, since the command still runs.")
    commands: list[CommandBrief] = Field(description="Without command_id: the newest commands, newest first.")
    history: list[Step] = Field(description="Without command_id: what was done in the session, oldest first.")


class Interrupted(BaseModel):
    session: str
    command_id: str
    state: CommandState
    exit_code: int | None


class SessionBrief(BaseModel):
    session: str
    branch: str
    repository: str | None
    state: str = Field(description="running, paused, asleep (wakes with the next call) or ended.")
    expires_at: str


class SessionDetail(SessionBrief):
    head: str | None
    checked_out: str | None = Field(description="The branch that is checked out; None when HEAD is detached.")
    unpushed: bool
    changes: list[str] = Field(description="Files that commit would take, as `M path`; at most 200.")
    changes_total: int
    running: list[CommandBrief]


class Overview(BaseModel):
    sessions: list[SessionBrief]
    detail: SessionDetail | None
    events: list[dict[str, Any]] = Field(description="What happened after `events_after`, oldest first.")
    next_event: int | None = Field(description="Pass it as `events_after` to hear only of what is new.")


class FileChange(BaseModel):
    path: str
    added: int
    removed: int


class Diff(BaseModel):
    session: str
    base: str
    files: list[FileChange] = Field(description="At most 200.")
    files_total: int
    patch: str
    total_chars: int
    truncated: bool
    next_cursor: str | None


class Committed(BaseModel):
    session: str
    sha: str | None = Field(description="None when there was nothing to commit.")
    branch: str
    withheld: list[dict[str, str]] = Field(description="Paths the guard kept out of the commit, with reasons.")


class Pushed(BaseModel):
    session: str
    where: Literal["remote", "rescue", "vault", "nothing"]
    sha: str | None
    ref: str | None


class Pulled(BaseModel):
    session: str
    sha: str | None
    updated: bool
    conflicts: list[str]


class Rewound(BaseModel):
    session: str
    to: int
    undo: int = Field(description="`rewind` to this number undoes the rewind.")
    files_changed: int
    left: list[str] = Field(description="Ignored files that were left alone and that nothing ignores any more.")


class StateChange(BaseModel):
    session: str
    state: str
    changed: bool


class Stopped(Pushed):
    discarded: bool = Field(description="The work was left unpublished; the server's vault still has it.")


class Files(BaseModel):
    session: str
    path: str
    op: Literal["list", "read", "write", "edit"]
    entries: list[str] = Field(description="For list: names, directories with a slash at the end.")
    text: str | None = Field(description="For read: the lines.")
    start_line: int | None
    end_line: int | None
    total_lines: int | None
    truncated: bool
    next_line: int | None
