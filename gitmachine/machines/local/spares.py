"""Home directories prepared in advance: at most one ready or in the making for each key.

`<state>/spares/<hash of key>/<random>/{home,objects,lock,outcome,log}`. The builder is a shell beside this
program; it holds a file lock (flock(2)) on `lock` as long as it works, so that a dead builder's leavings can be
told from a busy one's work, and writes `ready` to `outcome` when its command has succeeded.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import secrets
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from gitmachine.errors import ConfigurationError
from gitmachine.locks import FileLock
from gitmachine.machines.local import objects, sandbox, seccomp
from gitmachine.machines.local.cgroup import Groups
from gitmachine.machines.local.layout import Layout, own_directory, remove_tree
from gitmachine.machines.local.probe import PYTHON, bwrap_path
from gitmachine.machines.local.sandbox import Bind, Descriptors
from gitmachine.machines.local.user import User, make_reachable
from gitmachine.settings import Settings
from gitmachine.types import ExecuteOptions

BUILD_LIMIT_S = 900
_LOCK_LIMIT_S = 10.0
READY, BUILDING, DEAD = "ready", "building", "dead"

# Argument 1 and 2 are descriptors of the outcome and the lock; what it starts gets neither.
_BUILDER = """
import os, sys
outcome, lock = int(sys.argv[1]), int(sys.argv[2])
os.set_inheritable(outcome, False)
os.set_inheritable(lock, False)
if os.spawnvp(os.P_WAIT, sys.argv[3], sys.argv[3:]) == 0:
    os.write(outcome, b"ready")
"""


class Spares:
    """The spare homes for one key."""

    def __init__(self, settings: Settings, key: str, user: User) -> None:
        self._settings = settings
        self._directory = settings.spares / hashlib.sha256(key.encode()).hexdigest()[:24]
        self._user = user

    async def claim(self, layout: Layout) -> bool:
        """Makes a ready spare's home the machine's own; False when none is ready."""
        if not await asyncio.to_thread(self._directory.is_dir):
            return False
        async with self._locked():
            for spare in (await self._by_state())[READY]:
                await asyncio.to_thread(self._hand_over, spare, layout)
                return True
        return False

    async def keep(self, layout: Layout, command: str, options: ExecuteOptions) -> None:
        """Starts a builder, unless there is a spare or a builder already."""
        await asyncio.to_thread(self._make_directory)
        async with self._locked():
            spares = await self._by_state()
            if not spares[READY] and not spares[BUILDING]:
                await asyncio.to_thread(self._build, layout, command, options)

    def _locked(self) -> AbstractAsyncContextManager[None]:
        return FileLock(self._directory / "lock", "the store of spare homes").exclusive(_LOCK_LIMIT_S)

    def _make_directory(self) -> None:
        make_reachable(self._settings.spares, self._user)
        make_reachable(self._directory, self._user)

    async def _by_state(self) -> dict[str, list[Path]]:
        """The live ones; what dead builders left is removed on the way."""
        found = await asyncio.to_thread(self._look)
        for spare in found.pop(DEAD):
            await remove_tree(spare)
        return found

    def _look(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {READY: [], BUILDING: [], DEAD: []}
        for path in sorted(self._directory.iterdir()):
            if path.is_dir():
                found[state_of(path)].append(path)
        return found

    def _hand_over(self, spare: Path, layout: Layout) -> None:
        # The spare's repository may lean on objects that the vault has since packed otherwise.
        objects.share(spare / "objects", layout.objects, readable_by_others=self._user.switch)
        (spare / "lock").unlink()  # whoever finds it from now on, after a crash, too, takes it for a dead one
        layout.home.rmdir()
        (spare / "home").rename(layout.home)
        shutil.rmtree(spare)  # what is left of it only we have written

    def _build(self, layout: Layout, command: str, options: ExecuteOptions) -> None:
        spare = self._directory / secrets.token_hex(6)
        spare.mkdir(mode=0o711 if self._user.switch else 0o700)
        own_directory(spare / "home", self._user)
        (spare / "objects").mkdir(mode=0o755)
        objects.share(layout.objects, spare / "objects", readable_by_others=self._user.switch)
        with Descriptors() as fds:
            log = fds.keep(os.open(spare / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600))
            outcome = fds.inherit(os.open(spare / "outcome", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            lock = fds.inherit(os.open(spare / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            builder = [PYTHON, "-I", "-S", "-c", _BUILDER, str(outcome), str(lock)]
            argv = [*builder, *self._command_line(spare, fds, command, options)]
            sandbox.start_detached(argv, self._user, fds.inherited, log, Groups())

    def _command_line(self, spare: Path, fds: Descriptors, command: str, options: ExecuteOptions) -> list[str]:
        limit_s = options.timeout or BUILD_LIMIT_S
        arguments = [*sandbox.confinement(network=False), "--die-with-parent", "--clearenv"]
        arguments += sandbox.file_system(fds.etc(network=False), 1024**3, network=False)
        arguments += sandbox.bind_options(
            [Bind(spare / "home", sandbox.HOME, writable=True), Bind(spare / "objects", sandbox.OBJECTS)]
        )
        for name, value in {**sandbox.base_environment(), **options.env}.items():
            arguments += ["--setenv", name, value]
        arguments += ["--chdir", sandbox.HOME, "--seccomp", str(fds.file(seccomp.program()))]
        if any("\0" in argument for argument in (command, *arguments)):
            raise ConfigurationError("the command or environment for a spare home has a NUL character in it")
        # Over a descriptor, so that no environment value shows in the host's list of processes.
        given = fds.file("\0".join(arguments).encode("utf-8", "surrogateescape"))
        limited = ["nice", "-n", "5", "timeout", "--kill-after=5", str(limit_s), bwrap_path(), "--args", str(given)]
        return [*limited, "--", "/bin/sh", "-c", command]


def state_of(spare: Path) -> str:
    """`READY`, `BUILDING` or `DEAD`."""
    try:
        with (spare / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return READY if (spare / "outcome").read_text().strip() == READY else DEAD
    except BlockingIOError:
        return BUILDING
    except FileNotFoundError:
        return DEAD
