"""The values that travel through every room: states, options, results."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

OutputCallback = Callable[[str], Awaitable[None] | None]
"""Receives decoded text as it arrives; never half a character. May be a plain function or a coroutine."""

DEFAULT_MAX_OUTPUT_BYTES = 1024 * 1024


class MachineState(enum.StrEnum):
    """Where a machine is in its life."""

    IDLE = "idle"
    """Made, not started."""
    RUNNING = "running"
    """Commands can be run."""
    PAUSED = "paused"
    """Frozen: nothing in it runs until `resume()`."""
    STOPPED = "stopped"
    """Gone for good."""


@dataclass(frozen=True, slots=True)
class ExecuteOptions:
    """How to run one command. Travels as one object, so that a new option never breaks a provider."""

    cwd: str | None = None
    """Directory in the machine; the provider's home directory when left out."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the machine's own environment; never the host's."""
    timeout: float | None = None
    """Seconds from start to the kill of the whole process tree; None waits for ever."""
    stdin: str | bytes | None = None
    """Fed to the command, then closed. Without it standard input is empty, never a terminal."""
    on_stdout: OutputCallback | None = None
    """Sees every byte of standard output, also what `max_output_bytes` keeps out of the result."""
    on_stderr: OutputCallback | None = None
    max_output_bytes: int | None = DEFAULT_MAX_OUTPUT_BYTES
    """Kept of each of stdout and stderr: the first and the last half, with a line between them that counts
    the bytes cut. None keeps everything."""

    def with_(self, **changes: Any) -> ExecuteOptions:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Actor:
    """On whose behalf a command runs, as the session's history tells it."""

    door: str = "python"
    """python, cli, mcp, langchain …"""
    call: str | None = None
    """The door's own name for the call, such as a tool call's id."""


@dataclass(frozen=True, slots=True)
class RunOptions(ExecuteOptions):
    """What `GitMachine.run` takes beyond `Machine.execute`."""

    on_exit: Callable[[int], Awaitable[None] | None] | None = None
    """Called with the exit code once the command has ended, also after a timeout."""
    actor: Actor | None = None
    """Whose command it is; by default whoever `gitmachine.actor.acting` names, else a Python program."""

    def execute_options(self) -> ExecuteOptions:
        """The part of these options that a machine understands."""
        return ExecuteOptions(**{f.name: getattr(self, f.name) for f in fields(ExecuteOptions)})


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """What a command left behind. A non-zero exit is a result, never an exception."""

    exit_code: int
    """The shell's exit status; 124 when `timed_out`, 128 + n when signal n ended it."""
    stdout: str
    stderr: str
    timed_out: bool = False
    """The deadline passed: the whole process tree was killed, the output up to then is kept."""
    truncated: bool = False
    """stdout or stderr holds its head and tail only; a line in it says how much was cut."""
    duration: float = 0.0
    """Seconds from the request to the end of the command."""
    output_path: str | None = None
    """Where a session keeps the whole output of a truncated command, on the host."""
    exceeded: tuple[str, ...] = ()
    """Limits of the machine that were run into while the command ran, as the kernel or the machine counted it:
    memory (the kernel killed a process), processes (one could not be made), disk (all processes were killed)."""

    @property
    def ok(self) -> bool:
        """The command exited with 0."""
        return self.exit_code == 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider really does. Code asks; it never guesses by class."""

    pause_keeps_memory: bool = False
    """Processes go on after `resume()` where they stopped."""
    shares_host_kernel: bool = False
    isolation: str = "unknown"
    """A short name for the wall around the machine: bubblewrap, container, microvm, none, unknown."""
    network: str = "unknown"
    """The policy in force: none, host, allow-list, unrestricted, unknown."""
    ports: bool = False
    """A port of the machine can be reached from outside (`get_host`)."""
    reconnect: bool = False
    """Another process can `connect(id)` to a live machine."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Limits in force and by what means, such as `{"memory": "4 GiB (cgroup v1)"}`."""
    freezer: str | None = None
    """By what pause works: cgroup2, cgroup1, sigstop, or the provider's own word."""


@dataclass(frozen=True, slots=True)
class GitIdentity:
    """Author and committer of the commits that a session makes."""

    name: str = "GitMachine"
    email: str = "session@gitmachine.invalid"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One command that `GitMachine.run` has run."""

    command: str
    result: ExecutionResult
    timestamp: float
    """Seconds since the epoch when the command started."""


PushedWhere = Literal["remote", "rescue", "vault", "nothing"]


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """Where the work of a session is after a push was tried. The vault has it in every case."""

    where: PushedWhere
    """`remote`: the session branch has it. `rescue`: a rescue branch on the remote has it. `vault`: only the
    host's vault has it. `nothing`: there was nothing that the remote does not have."""
    sha: str | None = None
    ref: str | None = None
    """The remote branch that has the work; for `vault` the vault's own ref."""
    reason: str | None = None
    """Why the session branch was not moved, in the remote's words where it gave any."""
    held: tuple[str, ...] = ()
    """Paths for whose sake the guard kept the push back."""


@dataclass(frozen=True, slots=True)
class PullOutcome:
    """What a pull brought."""

    sha: str | None
    """The session branch's commit afterwards."""
    updated: bool
    conflicts: tuple[str, ...] = ()
    """Files left with conflict markers, as git leaves them."""
