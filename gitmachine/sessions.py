"""The registry on disk: which sessions there are, on which machine, and what they have done."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from gitmachine import settings as environment
from gitmachine.errors import ConfigurationError, SessionNotFound
from gitmachine.event_log import EventLog
from gitmachine.locks import FileLock
from gitmachine.records import CorruptRecord, Record
from gitmachine.settings import Settings
from gitmachine.types import GitIdentity, MachineState


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


class SessionStore:
    """One session's directory: its record, events, kept output and locks. Its history is in the vault."""

    def __init__(self, directory: Path, scrub: Callable[[str], str] | None = None) -> None:
        self.directory = directory
        self.id = directory.name
        self.events = EventLog(directory, scrub)
        self.lock = FileLock(directory / "lock", f"session {directory.name!r}")
        self.capture_lock = FileLock(directory / "capture.lock", f"the working tree of session {directory.name!r}")

    def load(self) -> SessionRecord:
        return SessionRecord.load(self.directory / "record.json")

    def save(self, record: SessionRecord) -> None:
        record.save(self.directory / "record.json")

    def make(self) -> None:
        """Makes the directory. Raises ConfigurationError when the state directory cannot be written."""
        state_dir = self.directory.parent.parent
        try:
            _private(state_dir)
            self.directory.parent.mkdir(exist_ok=True, mode=0o700)
            self.directory.mkdir(mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"the state directory {state_dir} cannot be used: {error.strerror}; "
                "set GITMACHINE_HOME to a directory that can be written"
            ) from error

    def discard(self) -> None:
        """Removes the directory of a session that never started, also from under a thread that still writes in it."""
        (self.directory / "record.json").unlink(missing_ok=True)  # so that what a kill leaves from here on is collected
        aside = self.directory.with_name(f".{self.directory.name}")
        with suppress(FileNotFoundError):
            self.directory.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def output_path(self, call: str) -> Path:
        """Where the whole output of a command goes when its result cannot hold it."""
        return self.directory / "output" / f"{call}.txt"

    def live_path(self, call: str) -> Path:
        """Where the output of a command can be read while it runs; see `gitmachine.live_output`."""
        return self.directory / "live" / f"{call}.txt"


class Registry:
    """All sessions on this host."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or environment.load()

    def named(self, branch: str, scrub: Callable[[str], str] | None = None) -> SessionStore:
        """A new session's directory, which `make` makes."""
        return self.store(f"{_slug(branch)}-{secrets.token_hex(3)}", scrub)

    def create(self, branch: str, scrub: Callable[[str], str] | None = None) -> SessionStore:
        """A directory for a new session. Raises ConfigurationError when the state directory cannot be written."""
        store = self.named(branch, scrub)
        store.make()
        return store

    def store(self, session_id: str, scrub: Callable[[str], str] | None = None) -> SessionStore:
        return SessionStore(self.settings.sessions / session_id, scrub)

    def records(self) -> list[SessionRecord]:
        """The records of all sessions, the newest last. One that cannot be read is left out; see `corrupt`."""
        return _loaded(self._paths())

    def called(self, name: str) -> list[SessionRecord]:
        """The records of those with this branch or id, the newest last; the others are not read."""
        paths = [self._path(one) for one in self._ids() if one == name or one.startswith(f"{_slug(name)}-")]
        return [record for record in _loaded(paths) if name in (record.id, record.session)]

    def corrupt(self) -> list[str]:
        """What is wrong with the records that cannot be read. They are left where they are."""
        problems = []
        for path in self._paths():
            try:
                SessionRecord.load(path)
            except CorruptRecord as error:
                problems.append(str(error))
            except (FileNotFoundError, NotADirectoryError):
                continue
        return problems

    def find(self, name: str, vault: str | None = None) -> SessionRecord:
        """A session by its id or by its branch; of several the newest. Raises SessionNotFound."""
        found = [record for record in self.called(name) if vault is None or vault == record.vault]
        if not found:
            known = ", ".join(sorted({record.session for record in self.records()})) or "none"
            raise SessionNotFound(f"there is no session {name!r} on this host; known: {known}")
        return found[-1]

    def on_machine(self, machine_id: str) -> SessionRecord | None:
        """The newest session that was put on a machine."""
        return next((record for record in reversed(self.records()) if record.machine == machine_id), None)

    def _paths(self) -> list[Path]:
        return [self._path(one) for one in self._ids()]

    def _path(self, session_id: str) -> Path:
        return self.settings.sessions / session_id / "record.json"

    def _ids(self) -> list[str]:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # who makes a session is told
            return sorted(name for name in os.listdir(self.settings.sessions) if not name.startswith("."))
        return []


def _slug(branch: str) -> str:
    """What the ids of its sessions begin with."""
    return re.sub(r"[^A-Za-z0-9]+", "-", branch).strip("-")[:40].strip("-") or "session"


def _loaded(paths: Iterable[Path]) -> list[SessionRecord]:
    records = []
    for path in paths:
        try:
            records.append(SessionRecord.load(path))
        except (CorruptRecord, FileNotFoundError, NotADirectoryError):
            continue
    return sorted(records, key=lambda record: record.created_at)


def _private(state_dir: Path) -> None:
    """Makes the state directory for its owner alone; machines of root, who run as another user, pass through."""
    with suppress(FileExistsError):
        state_dir.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        state_dir.chmod(0o711)
