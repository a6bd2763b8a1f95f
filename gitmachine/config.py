"""What a session was asked to be, checked once and frozen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self, get_args

from gitmachine.errors import ConfigurationError
from gitmachine.git.guard import Guard
from gitmachine.git.names import check_session_name, new_session_name
from gitmachine.git.remote import Remote, parse_remote
from gitmachine.project.consent import Consent
from gitmachine.types import GitIdentity

Hook = Callable[[Any], Awaitable[None] | None] | None
"""A lifecycle callback: receives the GitMachine."""

Checkpoint = Literal["command", "lifecycle", "off"]
"""When the working tree goes to the vault besides commit, pause and stop: after each command, or not at all.

`off` differs from `lifecycle` in that diff and status are the only other reads: nothing is kept unasked.
"""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The caller's lifecycle callbacks."""

    on_start: Hook = None
    on_pause: Hook = None
    on_resume: Hook = None
    on_end: Hook = None


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """The constructor's arguments, checked."""

    remote: Remote | None
    session: str
    named: bool
    """The caller chose the session's name."""
    base: str | None
    env: Mapping[str, str]
    timeout: float | None
    auto_commit: bool
    checkpoint: Checkpoint
    identity: GitIdentity
    guard: Guard
    lock_timeout: float
    consent: Consent | None = None
    """What the repository's own file may have; None for nothing but less than the machine has."""

    @classmethod
    def checked(
        cls, *, repository: str | None, token: str | None, session: str | None, checkpoint: Checkpoint, **rest: Any
    ) -> Self:
        """Raises ConfigurationError and InvalidSessionName, before anything is changed."""
        if checkpoint not in get_args(Checkpoint):
            raise ConfigurationError(f"checkpoint={checkpoint!r}: use one of {', '.join(get_args(Checkpoint))}")
        _check_identity(rest["identity"])
        _check_environment(rest["env"])
        if rest["timeout"] is not None and rest["timeout"] <= 0:
            raise ConfigurationError(f"timeout={rest['timeout']!r}: give seconds above 0, or None for no bound")
        if token is not None and repository is None:
            raise ConfigurationError("a token was given without a repository to use it for")
        return cls(
            remote=None if repository is None else parse_remote(repository, token),
            session=new_session_name(datetime.now(UTC)) if session is None else check_session_name(session),
            named=session is not None,
            checkpoint=checkpoint,
            **rest,
        )

    def with_env(self, env: Mapping[str, str]) -> Self:
        """A copy with more environment for the commands to come."""
        _check_environment(env)
        return replace(self, env={**self.env, **env})

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every spelling of what must never be written anywhere."""
        credential = self.remote.credential if self.remote else None
        return credential.forms() if credential else ()


def _check_identity(identity: GitIdentity) -> None:
    for field, value in (("name", identity.name), ("email", identity.email)):
        # git drops these characters from identities, and a commit would not have the identity that was asked for.
        if not value.strip() or any(character in value for character in "<>\n\0"):
            raise ConfigurationError(f"identity {field} {value!r}: it must not be empty nor contain <, > or a new line")


def _check_environment(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise ConfigurationError(f"environment variable {name!r}: names have no '=', names and values no NUL")
