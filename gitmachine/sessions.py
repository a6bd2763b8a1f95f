"""The registry on disk: which sessions there are, on which machine, and what they have done."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field

from gitmachine import settings as environment
from gitmachine.errors import ConfigurationError, SessionNotFound
from gitmachine.events import EventLog
from gitmachine.locks import FileLock
from gitmachine.records import CorruptRecord, Record
from gitmachine.settings import Settings
from gitmachine.types import ExecutionResult, GitIdentity, MachineState

_KEPT_TEXT = 64 * 1024
"""Characters of a command's output that its log entry keeps; all of it if it is shorter."""


class SessionRecord(Record):
    """What is known of a session when nobody drives it."""

    id: str
    session: str
    """The branch."""
    repository: str | None
    """The remote's address, without credentials."""
    vault: str
    provider: str
    """The machine's class, as `module:name`."""
    machine: str | None
    """The provider's id of the machine."""
    state: MachineState
    """As last recorded. The machine's own state is the truth."""
    repo_path: str
    base: str | None = None
    base_branch: str | None = None
    auto_commit: bool = True
    checkpoint: str = "command"
    identity_name: str = ""
    identity_email: str = ""
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def identity(self) -> GitIdentity:
        return GitIdentity(self.identity_name, self.identity_email)


class CommandRecord(BaseModel):
    """One command of a session, as its log keeps it."""

    number: int
    command: str
    started: float
    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool
    truncated: bool
    duration: float
    output_path: str | None

    def result(self) -> ExecutionResult:
        return ExecutionResult(
            exit_code=self.exit_code,
            stdout=self.stdout,
            stderr=self.stderr,
            timed_out=self.timed_out,
            truncated=self.truncated,
            duration=self.duration,
            output_path=self.output_path,
        )


class SessionStore:
    """One session's directory: its record, events, commands, kept output and locks."""

    def __init__(self, directory: Path, scrub: Callable[[str], str] = str) -> None:
        self.directory = directory
        self.id = directory.name
        self.events = EventLog(directory, scrub)
        self.lock = FileLock(directory / "lock", f"session {directory.name!r}")
        self.capture_lock = FileLock(directory / "capture.lock", f"the working tree of session {directory.name!r}")
        self._scrub = scrub

    def load(self) -> SessionRecord:
        return SessionRecord.load(self.directory / "record.json")

    def save(self, record: SessionRecord) -> None:
        record.save(self.directory / "record.json")

    def discard(self) -> None:
        """Removes the directory of a session that never started."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def output_path(self, number: int) -> Path:
        """Where the whole output of a command goes when its result cannot hold it."""
        return self.directory / "output" / f"{number}.txt"

    def next_number(self) -> int:
        """A number for a command, counted over all programs that drive this session."""
        import portalocker

        with (self.directory / "number").open("a+") as file:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE)
            file.seek(0)
            number = int(file.read() or 0) + 1
            file.truncate(0)
            file.write(str(number))
        return number

    def log_command(self, number: int, command: str, started: float, result: ExecutionResult) -> None:
        """Adds to the session's log of commands, with secrets taken out and long output cut at both ends."""
        record = CommandRecord(
            number=number,
            command=self._scrub(command),
            started=started,
            exit_code=result.exit_code,
            stdout=self._scrub(_short(result.stdout)),
            stderr=self._scrub(_short(result.stderr)),
            timed_out=result.timed_out,
            truncated=result.truncated or len(result.stdout) > _KEPT_TEXT or len(result.stderr) > _KEPT_TEXT,
            duration=result.duration,
            output_path=result.output_path,
        )
        with (self.directory / "commands.jsonl").open("a") as file:
            file.write(record.model_dump_json() + "\n")

    def commands(self, last: int = 1000) -> list[CommandRecord]:
        """The newest `last` commands, oldest first."""
        try:
            lines = (self.directory / "commands.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [CommandRecord.model_validate_json(line) for line in lines[-last:]]


class Registry:
    """All sessions on this host."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or environment.load()

    def create(self, branch: str, scrub: Callable[[str], str] = str) -> SessionStore:
        """A directory for a new session. Raises ConfigurationError when the state directory cannot be written."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", branch).strip("-")[:40].strip("-") or "session"
        directory = self.settings.sessions / f"{slug}-{secrets.token_hex(3)}"
        try:
            _private(self.settings.state_dir)
            directory.parent.mkdir(exist_ok=True, mode=0o700)
            directory.mkdir(mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"the state directory {self.settings.state_dir} cannot be used: {error.strerror}; "
                "set GITMACHINE_HOME to a directory that can be written"
            ) from error
        return SessionStore(directory, scrub)

    def store(self, session_id: str, scrub: Callable[[str], str] = str) -> SessionStore:
        return SessionStore(self.settings.sessions / session_id, scrub)

    def records(self) -> list[SessionRecord]:
        """The records of all sessions, the newest last. One that cannot be read is left out; see `corrupt`."""
        records = []
        for path in self._paths():
            try:
                records.append(SessionRecord.load(path))
            except (CorruptRecord, FileNotFoundError):
                continue
        return sorted(records, key=lambda record: record.created_at)

    def corrupt(self) -> list[str]:
        """What is wrong with the records that cannot be read. They are left where they are."""
        problems = []
        for path in self._paths():
            try:
                SessionRecord.load(path)
            except CorruptRecord as error:
                problems.append(str(error))
            except FileNotFoundError:
                continue
        return problems

    def find(self, name: str, vault: str | None = None) -> SessionRecord:
        """A session by its id or by its branch; of several the newest. Raises SessionNotFound."""
        found = [
            record
            for record in self.records()
            if name in (record.id, record.session) and (vault is None or vault == record.vault)
        ]
        if not found:
            known = ", ".join(sorted({record.session for record in self.records()})) or "none"
            raise SessionNotFound(f"there is no session {name!r} on this host; known: {known}")
        return found[-1]

    def on_machine(self, machine_id: str) -> SessionRecord | None:
        """The newest session that was put on a machine."""
        return next((record for record in reversed(self.records()) if record.machine == machine_id), None)

    def _paths(self) -> list[Path]:
        return sorted(self.settings.sessions.glob("*/record.json"))


def _short(text: str) -> str:
    if len(text) <= _KEPT_TEXT:
        return text
    half = _KEPT_TEXT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters cut ...]\n{text[-half:]}"


def _private(state_dir: Path) -> None:
    """Makes the state directory for its owner alone; machines of root, who run as another user, pass through."""
    import os

    if not state_dir.exists():
        state_dir.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        state_dir.chmod(0o711)
