"""What can befall a session: each fault strikes at an instant, and is mended before the recovery."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gitmachine.machines.local.record import MachineRecord
from tests.support.git_server import GitServer


class Place:
    """Where one session after another is crashed: a state directory and a remote of its own."""

    def __init__(self, state: Path, server: GitServer) -> None:
        self.state = state
        self.server = server
        self.repository = server.repository()

    def machines(self) -> list[MachineRecord]:
        found = []
        for path in self.state.glob("machines/*/machine.json"):
            with suppress(FileNotFoundError):
                found.append(MachineRecord.load(path))
        return found


class Fault(ABC):
    """`strike` makes it happen; `mend` undoes what does not heal by itself."""

    name: str
    ends_the_program = False
    """The driving program is dead after the strike; else it gets on until it fails or ends."""

    @abstractmethod
    def strike(self, place: Place, pid: int) -> None: ...

    def mend(self, place: Place) -> None:
        del place


class HostKilled(Fault):
    """`kill -9` of the driving program; the git processes that it started go on."""

    name = "host"
    ends_the_program = True

    def strike(self, place: Place, pid: int) -> None:
        del place
        with suppress(ProcessLookupError):  # it has ended
            os.kill(pid, signal.SIGKILL)


class HostAndChildrenKilled(Fault):
    """The driving program and everything below it at once, as when its container ends."""

    name = "host+git"
    ends_the_program = True

    def strike(self, place: Place, pid: int) -> None:
        del place
        kill_tree(pid)


class MachineKilled(Fault):
    """`kill -9` of the sandbox's first process."""

    name = "machine"

    def strike(self, place: Place, pid: int) -> None:
        del pid
        for record in place.machines():
            with suppress(ProcessLookupError):
                os.kill(record.init.pid, signal.SIGKILL)


class EverythingKilled(Fault):
    """Program, its children, the sandbox: what a power cut leaves, short of the disk's own cache."""

    name = "everything"
    ends_the_program = True

    def strike(self, place: Place, pid: int) -> None:
        kill_tree(pid)
        MachineKilled().strike(place, pid)


class RemoteCut(Fault):
    """The git server refuses connections."""

    name = "remote"

    def strike(self, place: Place, pid: int) -> None:
        del pid
        place.server.stop()

    def mend(self, place: Place) -> None:
        place.server.start()


class StateReadOnly(Fault):
    """No directory of the host's state can be written. Does not bind root."""

    name = "read-only"

    def strike(self, place: Place, pid: int) -> None:
        del pid
        for directory in directories(place.state):
            directory.chmod(0o500)

    def mend(self, place: Place) -> None:
        for directory in directories(place.state):
            directory.chmod(0o700)


class FilesLimited(Fault):
    """The program and what it starts can write no file beyond a few bytes (RLIMIT_FSIZE), as on a full disk."""

    name = "file size"

    def strike(self, place: Place, pid: int) -> None:
        del place
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (64, 64))


class DiskFull(Fault):
    """No byte is left on the file system of the state directory, which is a small one. For root."""

    name = "disk full"

    def strike(self, place: Place, pid: int) -> None:
        del pid
        with suppress(OSError), (place.state / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(256 * 1024))
        with suppress(OSError), (place.state / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))

    def mend(self, place: Place) -> None:
        (place.state / "filler").unlink()


def faults() -> list[Fault]:
    """Those that this user can bring about."""
    everybody: list[Fault] = [
        HostKilled(), HostAndChildrenKilled(), MachineKilled(), EverythingKilled(), RemoteCut(), FilesLimited(),
    ]  # fmt: skip
    return [*everybody, DiskFull() if os.geteuid() == 0 else StateReadOnly()]


def kill_tree(pid: int) -> None:
    """Stops all before killing any, so that none gets to act on another's end."""
    family = list(_family(pid))
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for member in family:
            with suppress(ProcessLookupError):
                os.kill(member, number)


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):  # it ends meanwhile
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text().split():
                yield from _family(int(child))


def directories(state: Path) -> list[Path]:
    """The host's own directories; those in a machine's home are the machine's."""
    own = [state, *(state / name for name in ("vaults", "sessions", "machines", "spares"))]
    inner = [path for name in ("vaults", "sessions") for path in (state / name).rglob("*") if path.is_dir()]
    return [path for path in [*own, *inner] if path.is_dir() and not path.is_symlink()]


def mount_small(directory: Path, size: str = "96m") -> None:
    """A file system of its own. As root only."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "tmpfs", str(directory)], check=True)


def unmount(directory: Path) -> None:
    subprocess.run(["umount", str(directory)], check=True)
