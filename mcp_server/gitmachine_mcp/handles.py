"""Handles: the names by which callers speak of sessions, kept on disk so that the next server knows them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from gitmachine.machines.local import proc
from gitmachine.records import CorruptRecord, Record
from gitmachine.settings import Settings

PREFIX = "gm_"


class HandleRecord(Record):
    """One handle. The session itself is the registry's."""

    handle: str
    principal: str
    session_id: str
    """The registry's name of it."""
    repository: str | None
    branch: str
    ttl_s: float
    used_at: datetime
    asleep: bool = False
    """The server froze it, not its caller: the next call wakes it."""
    ended: bool = False
    holder_pid: int | None = None
    holder_started: int | None = None
    """The server that has it open, by pid and start time."""

    @property
    def expires_at(self) -> datetime:
        return self.used_at + timedelta(seconds=self.ttl_s)

    def held_elsewhere(self) -> bool:
        """Another server, alive, has it open."""
        if self.holder_pid is None or self.holder_pid == os.getpid():
            return False
        return proc.is_alive(self.holder_pid, self.holder_started or 0)

    def held(self) -> HandleRecord:
        """A copy that says that this process has it open."""
        found = proc.stat_of(os.getpid())
        return self.model_copy(update={"holder_pid": os.getpid(), "holder_started": found[1] if found else None})


class Handles:
    """The handles on this host."""

    def __init__(self, settings: Settings) -> None:
        self._directory = settings.state_dir / "mcp"

    def mint(self, principal: str, session_id: str, repository: str | None, branch: str, ttl_s: float) -> HandleRecord:
        """A new handle, with 128 bits of chance in it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = HandleRecord(
            handle=PREFIX + secrets.token_hex(16),
            principal=principal,
            session_id=session_id,
            repository=repository,
            branch=branch,
            ttl_s=ttl_s,
            used_at=datetime.now(UTC),
        )
        return self.save(record)

    def save(self, record: HandleRecord) -> HandleRecord:
        record.save(self._directory / f"{record.handle}.json")
        return record

    def forget(self, record: HandleRecord) -> None:
        (self._directory / f"{record.handle}.json").unlink(missing_ok=True)

    def all(self) -> list[HandleRecord]:
        """Every handle that can be read, the oldest first."""
        records = []
        for path in self._directory.glob(f"{PREFIX}*.json"):
            try:
                records.append(HandleRecord.load(path))
            except (CorruptRecord, FileNotFoundError):
                continue
        return sorted(records, key=lambda record: record.used_at)

    def of(self, principal: str, wanted: Callable[[HandleRecord], bool] = lambda record: True) -> list[HandleRecord]:
        return [record for record in self.all() if record.principal == principal and wanted(record)]

    def find(self, principal: str, handle: str) -> HandleRecord | None:
        """That handle, if it is this principal's. A session's branch or id will do for its owner, too."""
        return newest(self.of(principal, lambda r: handle in (r.handle, r.branch, r.session_id)))


def newest(records: Iterable[HandleRecord]) -> HandleRecord | None:
    """The one in use last; one that goes on before one that has ended."""
    return max(records, key=lambda record: (not record.ended, record.used_at), default=None)
