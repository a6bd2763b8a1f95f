"""What the operator of a server decided. A caller can ask for less, never for more."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from gitmachine.errors import ConfigurationError
from gitmachine.git.remote import parse_remote
from gitmachine.project.consent import Consent

MachineKind = Literal["local", "docker", "e2b"]


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one server. Durations are seconds."""

    repo: str | None = None
    """Where sessions work when the caller names no repository; then `run` starts a session by itself."""
    branch: str | None = None
    """The branch of the session that starts by itself; without it a name is made."""
    base: str | None = None
    machine: MachineKind = "local"
    image: str | None = None
    """Of the containers, with `machine="docker"`."""
    network: str | tuple[str, ...] | None = None
    """Of machines: None for none, "host", "bridge" with docker, or the allowed hosts."""
    consent: Consent | None = None
    """What a repository's own gitmachine.toml may have."""
    allow_repos: tuple[str, ...] = ()
    """Patterns (fnmatch) of the addresses that may be worked on. Empty: any https or ssh address, and `repo`."""
    protect: tuple[str, ...] = ("main", "master")
    """Patterns of branches that are pushed to with a person's consent only, as is the default branch."""
    read_only: bool = False
    """Only the tools that look."""
    max_sessions: int = 8
    """Live sessions of one caller."""
    session_ttl_s: float = 3600.0
    """After this long without a call a session is put to sleep: its work made safe, its machine frozen."""
    forget_after_s: float = 7 * 86400.0
    """A session that slept this long is ended: what is not pushed stays in the vault."""
    run_wait_s: float = 45.0
    """The longest that `run` and `logs` keep their caller waiting."""
    run_timeout_s: float = 3600.0
    """The longest that a command may run."""
    lock_timeout_s: float = 20.0
    """How long a call waits for its turn on a session."""

    def check_repository(self, repository: str) -> str:
        """The address without credentials. Raises ConfigurationError when it is not one that may be used."""
        remote = parse_remote(repository)
        if self.repo is not None and parse_remote(self.repo).url == remote.url:
            return remote.url
        if self.allow_repos:
            if not any(fnmatchcase(remote.url, pattern) for pattern in self.allow_repos):
                raise ConfigurationError(
                    f"this server does not work on {remote.url}; allowed: {', '.join(self.allow_repos)}"
                )
        elif remote.scheme == "file":
            raise ConfigurationError(
                f"{remote.url} is a path on the server's host, and this server was not started for it: give an https "
                "or ssh address, or have the server started with --repo or --allow-repo"
            )
        return remote.url

    def is_protected(self, branch: str, default: str | None) -> bool:
        """Whether a push to `branch` needs a person's consent."""
        return branch == default or any(fnmatchcase(branch, pattern) for pattern in self.protect)
