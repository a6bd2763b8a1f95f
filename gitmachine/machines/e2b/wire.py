"""What goes to the supervisor in the machine and what comes back from it; told in `supervisor.pl`."""

from __future__ import annotations

import base64
import binascii
import functools
import os
import secrets
import shlex
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitmachine import _job
from gitmachine.errors import ConfigurationError, MachineError
from gitmachine.machine import Step
from gitmachine.types import ExecuteOptions, ExecutionResult

INLINE_BYTES = 512 * 1024
"""A request up to this size travels in the environment of the process; of a larger one the input goes as a file."""
STEP_LIMIT_S = 1800.0

_VARIABLE_CHARS = 96 * 1024
_MAX_STRING_BYTES = 128 * 1024 - 1
"""The kernel's bound on one argument or environment entry (execve(2), MAX_ARG_STRLEN)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One command, and the steps that follow it."""

    id: str
    marker: str
    cwd: bytes
    command: bytes
    stdin: bytes
    env: tuple[bytes, ...]
    steps: tuple[bytes, ...] = ()
    """The fields of all of them, one after another."""

    @classmethod
    def of(cls, command: str, options: ExecuteOptions, steps: Sequence[Step] = (), stdin_file: str = "") -> Request:
        """Raises ConfigurationError for what no program can be given."""
        name = secrets.token_hex(16)
        fields: list[bytes] = []
        for step in steps:
            limit = STEP_LIMIT_S if step.options.timeout is None else step.options.timeout
            env = _entries(step.options.env)
            fields += [f"{limit:.0f}".encode(), _text(step.command, "the command"), _input(step.options.stdin)]
            fields += [str(len(env)).encode(), *env]
        return cls(
            id=name,
            marker=f"\0gitmachine-{secrets.token_hex(16)}\0",
            cwd=_bytes(options.cwd or "", "cwd"),
            command=_text(command, "the command"),
            stdin=f"<{stdin_file}".encode() if stdin_file else _input(options.stdin),
            env=(*_entries(options.env), f"GITMACHINE_JOB={name}".encode()),
            steps=tuple(fields),
        )

    def environment(self, offsets: tuple[int, int], done: Iterable[str]) -> dict[str, str]:
        """The environment of the supervisor. `offsets` are how much of stdout and stderr has arrived, in bytes."""
        head = [self.marker.encode(), " ".join(done).encode(), *(str(offset).encode() for offset in offsets)]
        rest = [self.cwd, self.command, self.stdin, str(len(self.env)).encode(), *self.env, *self.steps]
        text = base64.b64encode(_packed([*head, *rest])).decode()
        pieces = range(0, len(text), _VARIABLE_CHARS)
        return {f"GM_{n}": text[at : at + _VARIABLE_CHARS] for n, at in enumerate(pieces)}

    def call(self) -> str:
        """The command line that starts the supervisor."""
        return f"exec perl -e {shlex.quote(_supervisor())} {self.id}"

    def kill(self) -> str:
        """The script that ends the command with all its processes; also one that has not begun yet."""
        return _job.script(_KILL, self.id)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the supervisor says at the end."""

    what: str
    number: int
    home: str
    missing: bool
    steps: tuple[ExecutionResult, ...]

    @classmethod
    def parsed(cls, text: str) -> Answer:
        """Raises MachineError for what no supervisor says."""
        try:
            fields = _unpacked(base64.b64decode(text, validate=True))
            what, number, home, missing = (field.decode("utf-8", "replace") for field in fields[:4])
            steps = fields[4:]
            return cls(what, int(number), home, missing == "1", tuple(map(_result, *[iter(steps)] * 4)))
        except (ValueError, struct.error, binascii.Error) as error:
            raise MachineError(f"the machine's supervisor answered with something else: {text[:80]!r}") from error


_KILL = (
    _job.KILL_TREE
    + """
id=$1 job=$HOME/.gitmachine/run/$1
mkdir -p -- "$HOME/.gitmachine/run"
mkdir -m 700 -- "$job" 2>/dev/null
: >"$job/killed"
leader=
[ ! -s "$job/pid" ] || leader=$(cat "$job/pid")
kill_tree
"""
)


@functools.cache
def _supervisor() -> str:
    lines = Path(__file__).with_name("supervisor.pl").read_text().splitlines()
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def _result(code: bytes, late: bytes, stdout: bytes, stderr: bytes) -> ExecutionResult:
    return ExecutionResult(
        exit_code=124 if late == b"1" else int(code),
        stdout=stdout.decode("utf-8", "replace"),
        stderr=stderr.decode("utf-8", "replace"),
        timed_out=late == b"1",
    )


def _packed(fields: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)


def _unpacked(data: bytes) -> list[bytes]:
    fields, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        fields.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return fields


def as_bytes(stdin: str | bytes | None) -> bytes:
    """A standard input as bytes."""
    return stdin.encode() if isinstance(stdin, str) else stdin or b""


def _input(stdin: str | bytes | None) -> bytes:
    return b"=" + data if (data := as_bytes(stdin)) else b""


def _entries(env: Mapping[str, str]) -> list[bytes]:
    entries = []
    for name, value in env.items():
        if not name or "=" in name:
            raise ConfigurationError(f"{name!r} cannot be the name of an environment variable")
        entries.append(_bytes(f"{name}={value}", f"the environment variable {name}"))
    return entries


def _text(text: str, what: str) -> bytes:
    return _checked(text.encode("utf-8", "surrogateescape"), what)


def _bytes(text: str, what: str) -> bytes:
    return _checked(os.fsencode(text), what)


def _checked(data: bytes, what: str) -> bytes:
    if b"\0" in data:
        raise ConfigurationError(f"{what} has a NUL character in it, which no program can be given: {data[:80]!r}")
    if len(data) > _MAX_STRING_BYTES:
        raise ConfigurationError(f"{what} has {len(data)} bytes, more than {_MAX_STRING_BYTES}; pass it as a file")
    return data
