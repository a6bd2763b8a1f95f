"""As whom a sandbox runs. Never as root: to the kernel a sandboxed root is root (bubblewrap covers too little)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from gitmachine.errors import ConfigurationError
from gitmachine.settings import MACHINE_UID


@dataclass(frozen=True, slots=True)
class User:
    """The user and group that own a machine's files and processes on the host."""

    uid: int
    gid: int

    @property
    def switch(self) -> bool:
        """The host process is root and has to become this user before it starts a sandbox."""
        return os.geteuid() == 0

    def give(self, path: Path) -> None:
        """Makes the user the owner of a file or directory that we have just made."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


def machine_user() -> User:
    """The dedicated user for root, and ourselves for everybody else."""
    if os.geteuid() == 0:
        return User(MACHINE_UID, MACHINE_UID)
    return User(os.geteuid(), os.getegid())


def make_reachable(directory: Path, user: User) -> None:
    """Makes a directory of the state with the right mode: ours alone, or passable for the machine's user.

    Raises ConfigurationError, naming the first directory that is in the way.
    """
    mode = 0o711 if user.switch else 0o700
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=mode)
        if user.switch and not stat.S_IMODE(directory.stat().st_mode) & 0o001:
            directory.chmod(mode)
    except OSError as error:
        raise ConfigurationError(
            f"the state directory {directory} cannot be used: {error.strerror}; "
            "set GITMACHINE_HOME to a directory that you can write"
        ) from error


def check_reachable(directory: Path, user: User) -> None:
    """Raises ConfigurationError when the machine's user cannot get to a directory from the root."""
    if not user.switch:
        return
    resolved = directory.resolve()
    for path in [*reversed(resolved.parents), resolved]:
        found = path.stat()
        bit = 0o100 if found.st_uid == user.uid else 0o010 if found.st_gid == user.gid else 0o001
        if not found.st_mode & bit:
            raise ConfigurationError(
                f"machines run as uid {user.uid}, who cannot pass {path} (mode {stat.S_IMODE(found.st_mode):04o}); "
                f"set GITMACHINE_HOME to a directory outside it, or: chmod o+x {path}"
            )
