"""The one place where the environment is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_ROOT_STATE_DIR = Path("/var/lib/gitmachine")
"""For root: machines run as another user, who cannot reach anything below /root (mode 0700)."""

MACHINE_UID = 2_000_000
"""Whom a machine runs as when the host process is root. Above all that adduser and useradd hand out."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where GitMachine keeps its state, and what it was told by the environment."""

    state_dir: Path

    @property
    def vaults(self) -> Path:
        return self.state_dir / "vaults"

    @property
    def sessions(self) -> Path:
        return self.state_dir / "sessions"

    @property
    def machines(self) -> Path:
        return self.state_dir / "machines"

    @property
    def gateways(self) -> Path:
        return self.state_dir / "gateways"

    @property
    def spares(self) -> Path:
        return self.state_dir / "spares"


def load() -> Settings:
    """Settings from the environment as it is now: GITMACHINE_HOME, else XDG_STATE_HOME, else the default."""
    if home := os.environ.get("GITMACHINE_HOME"):
        return Settings(Path(home).expanduser().absolute())
    if os.geteuid() == 0:
        return Settings(_ROOT_STATE_DIR)
    if state := os.environ.get("XDG_STATE_HOME"):
        return Settings(Path(state) / "gitmachine")
    return Settings(Path.home() / ".local" / "state" / "gitmachine")


def token_for(host: str | None) -> str | None:
    """The git token for a host: GITMACHINE_TOKEN, for github.com also GH_TOKEN and GITHUB_TOKEN."""
    names = ["GITMACHINE_TOKEN"] + (["GH_TOKEN", "GITHUB_TOKEN"] if host == "github.com" else [])
    return next((value for name in names if (value := os.environ.get(name))), None)


def e2b_api_key() -> str | None:
    """The key for E2B's service, which its SDK would read by itself."""
    return os.environ.get("E2B_API_KEY")


def credential_environment() -> dict[str, str]:
    """What the host's own git needs to find its credential helpers and ssh agent, when no token was given."""
    names = (
        "HOME", "PATH", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
        "DBUS_SESSION_BUS_ADDRESS",
    )  # fmt: skip
    return {name: value for name in names if (value := os.environ.get(name))}


def network_environment() -> dict[str, str]:
    """Proxies and certificate stores that the host's own git needs to reach a remote."""
    names = (
        "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
        "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
    )  # fmt: skip
    return {name: value for name in names if (value := os.environ.get(name))}


def git_configuration_files() -> tuple[Path, ...]:
    """The user's own git configuration, the file with the last word last (git-config(1), FILES)."""
    home = Path(os.environ.get("HOME") or "/nonexistent")
    if given := os.environ.get("GIT_CONFIG_GLOBAL"):
        return (Path(given),)
    return (Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git" / "config", home / ".gitconfig")


def engine_host() -> str | None:
    """The container engine that the environment names: DOCKER_HOST, else DOCKER_CONTEXT, a name."""
    return os.environ.get("DOCKER_HOST") or os.environ.get("DOCKER_CONTEXT") or None


def engine_environment() -> dict[str, str]:
    """What another process needs to find and reach the same container engine."""
    names = (
        "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY",
        "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR",
    )  # fmt: skip
    return {name: value for name in names if (value := os.environ.get(name))}


def engine_sockets() -> tuple[Path, ...]:
    """Where Docker and Podman listen on this host by default, root's and the user's own."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    return (
        Path("/run/docker.sock"),
        Path("/var/run/docker.sock"),
        runtime / "docker.sock",
        Path.home() / ".docker" / "run" / "docker.sock",
        runtime / "podman" / "podman.sock",
        Path("/run/podman/podman.sock"),
    )
