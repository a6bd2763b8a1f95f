"""Which repository and which session the user means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gitmachine.errors import ConfigurationError, SessionNotFound
from gitmachine.git.remote import parse_remote
from gitmachine.sessions import Registry
from gitmachine.whereabouts import Found, look


def checkout_above(directory: Path) -> Path | None:
    """The git checkout or bare repository that a directory is in."""
    for path in (directory, *directory.parents):
        if (path / ".git").exists() or all((path / name).exists() for name in ("HEAD", "objects", "refs")):
            return path
    return None


async def session(name: str | None) -> Found:
    """The session that a command is about; without a name the only live one. Raises SessionNotFound."""
    registry = Registry()
    if name is not None:
        return await look(registry.find(name))
    live = [found for record in registry.records() if (found := await look(record)).live]
    if len(live) == 1:
        return live[0]
    if not live:
        raise SessionNotFound("no session is live on this host: start one with `gitmachine start` or `gitmachine run`")
    names = ", ".join(found.record.session for found in live)
    raise SessionNotFound(f"{len(live)} sessions are live, name the one that is meant: {names}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where `run` and `start` are to work."""

    repository: str
    earlier: Found | None
    """The session of that name on that repository, if this host knows one."""


async def wanted(repository: str | None, name: str | None) -> Wanted:
    """The repository: the one named, else the checkout that we are in, else the one of the session named.

    A local checkout is itself the repository, not its `origin`: its commits are seen, and the session's branch is
    pushed into it. Raises ConfigurationError, SessionNotFound.
    """
    here = checkout_above(Path.cwd())
    if repository is None and here is None:
        if name is None:
            raise ConfigurationError("this is no git checkout: give --repo URL or PATH, or run from inside a checkout")
        found = await look(Registry().find(name))
        if found.record.repository is None:
            raise ConfigurationError(f"session {name!r} has no repository to go on with: give --repo URL or PATH")
        return Wanted(found.record.repository, found)
    chosen = repository if repository is not None else str(here)
    url = parse_remote(chosen).url
    records = [r for r in Registry().called(name) if r.repository == url] if name is not None else []
    return Wanted(chosen, await look(records[-1]) if records else None)
