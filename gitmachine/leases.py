"""For how long a session is nobody's: its lease.

Whoever drives a session holds its lock for each call (`gitmachine.locks`), and a lock that is taken marks its file
with the time: so each call renews the lease, in microseconds, and a program that has died renews it no more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

LEASE = timedelta(days=7)
"""How long a session may stand unused before `gitmachine gc` takes its machine away, with its work in the vault."""


def last_held(session: Path) -> datetime:
    """When somebody last held the lock of the session with that directory. Raises FileNotFoundError."""
    try:
        changed = (session / "lock").stat().st_mtime
    except FileNotFoundError:
        changed = session.stat().st_mtime
    return datetime.fromtimestamp(changed, UTC)


def lease_until(session: Path, lease: timedelta = LEASE) -> datetime:
    """Until when nobody else may end the session."""
    return last_held(session) + lease
