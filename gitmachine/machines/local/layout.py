"""Where a machine's files are on the host, and how they are removed."""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from gitmachine.errors import MachineError
from gitmachine.machines.local.user import User, check_reachable, make_reachable
from gitmachine.settings import Settings

RECORD = "machine.json"
OBSERVER_RECORD = "observer.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """One machine's directory. What the machine can write belongs to its user, all else to us."""

    directory: Path

    @property
    def home(self) -> Path:
        return self.directory / "home"

    @property
    def objects(self) -> Path:
        return self.directory / "objects"

    @property
    def shadow(self) -> Path:
        return self.directory / "shadow"

    @property
    def record(self) -> Path:
        return self.directory / RECORD

    @property
    def observer_record(self) -> Path:
        return self.directory / OBSERVER_RECORD

    @property
    def compiled(self) -> Path:
        """The agent's byte code, for all machines of one state directory."""
        return self.directory.parent.parent / "agent.pyc"

    @classmethod
    def of(cls, settings: Settings, machine_id: str) -> Layout:
        return cls(settings.machines / machine_id)

    @classmethod
    def create(cls, settings: Settings, user: User) -> Layout:
        """A new machine's directory. Raises ConfigurationError."""
        make_reachable(settings.state_dir, user)
        make_reachable(settings.machines, user)
        check_reachable(settings.machines, user)
        layout = cls.of(settings, f"local-{secrets.token_hex(6)}")
        layout.directory.mkdir(mode=0o711 if user.switch else 0o700)
        own_directory(layout.home, user)
        own_directory(layout.shadow, user)
        own_directory(layout.shadow / "objects", user)
        layout.objects.mkdir(mode=0o755)
        return layout


def own_directory(path: Path, user: User) -> None:
    """Makes a directory that the machine's user owns and nobody else may enter."""
    path.mkdir(mode=0o700)
    user.give(path)


async def remove_tree(path: Path) -> None:
    """Removes a directory that a machine has written, whatever it holds: any depth, any modes, any names.

    Never follows a link. Raises MachineError when something is left.
    """
    # The first without its output: directories that their owner may not enter are made enterable and tried again.
    if not await _run("rm", "-rf", "--", str(path)):
        await _run("chmod", "-R", "--", "u+rwx", str(path))
        if not await _run("rm", "-rf", "--", str(path)):
            raise MachineError(f"the machine's directory {path} could not be removed whole; remove it by hand")


async def _run(*argv: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        *argv,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        return await process.wait() == 0
    except asyncio.CancelledError:
        process.kill()
        await asyncio.shield(process.wait())
        raise
