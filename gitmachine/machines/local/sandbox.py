"""One held sandbox: its bubblewrap command line, its launch, its end.

The launch line is the one that was measured and attacked; each option's reason stands beside it. bubblewrap
itself gets an empty environment, because its own would be readable inside, and never runs as root.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from gitmachine.errors import MachineError, MachineUnavailable
from gitmachine.machines.local import cgroup, proc, seccomp
from gitmachine.machines.local.bytecode import compiled
from gitmachine.machines.local.cgroup import Groups
from gitmachine.machines.local.probe import BWRAP_ENVIRONMENT, PYTHON, bwrap_path, unavailable
from gitmachine.machines.local.user import User

HOME = "/home/user"
OBJECTS = "/run/gm/objects"
SHADOW = "/run/gm/shadow"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
AGENT = Path(__file__).with_name("agent.py")
_PROGRAM = "/run/gm/agent"
_LAUNCH_LIMIT_S = 20.0
_BACKLOG = 4096

# Waits until it has been moved to its control groups (a line on descriptor 0), then leaves the sandbox to
# itself: nobody's child, with no pipe to us, so that it outlives this program.
_SHIM = 'read -r _ || exit 1; "$@" </dev/null >/dev/null &'

_PASSWD = b"root:x:0:0:root:/root:/usr/sbin/nologin\nuser:x:1000:1000:user:/home/user:/bin/bash\n"
_GROUP = b"root:x:0:\nuser:x:1000:\n"
_HOSTS = b"127.0.0.1 localhost gitmachine\n::1 localhost\n"


@dataclass(frozen=True, slots=True)
class Bind:
    """A directory of the host in the sandbox."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What one sandbox is to be."""

    name: str
    """The socket is `<name>.sock`, what bubblewrap says goes to `<name>.log`, both in `directory`."""
    directory: Path
    user: User
    compiled: Path
    """Where the agent's byte code is kept for the next sandbox."""
    binds: tuple[Bind, ...]
    home: str = HOME
    network: bool = False
    tmp_bytes: int = 1024**3
    agent_arguments: tuple[str, ...] = ()
    groups: Groups = field(default_factory=Groups)
    reads_all: bool = False
    """Can read any file of its user's, whatever its mode: for observers, which run nothing of a machine's."""


@dataclass(frozen=True, slots=True)
class Init:
    """The first process of a sandbox, by its number on the host; its end is the end of all others."""

    pid: int
    start_time: int

    def is_alive(self) -> bool:
        return proc.is_alive(self.pid, self.start_time)


def base_environment(home: str = HOME) -> dict[str, str]:
    """What every command in a sandbox gets, before the caller's own."""
    return {
        "HOME": home,
        "USER": "user",
        "LOGNAME": "user",
        "SHELL": "/bin/bash",
        "PATH": PATH,
        "LANG": "C.UTF-8",
    }


def confinement(*, network: bool, reads_all: bool = False) -> list[str]:
    """The namespaces and rights, common to all sandboxes."""
    # --unshare-all would take user and cgroup only where it can, and go on silently without them.
    options = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"]
    options += [] if network else ["--unshare-net"]
    options += ["--disable-userns", "--hostname", "gitmachine", "--new-session"]
    # An observer has the same user as the machine it observes: git compares owners to tell whether a file changed.
    options += ["--uid", "1000", "--gid", "1000"]
    return [*options, "--cap-add", "CAP_DAC_READ_SEARCH"] if reads_all else options


def file_system(files: Mapping[str, int], tmp_bytes: int, *, network: bool) -> Iterator[str]:
    """/usr, a few files of /etc, fresh /proc, /dev and /tmp; nothing else of the host."""
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        root = Path("/", name)
        if root.is_symlink():
            yield from ("--symlink", os.readlink(root).lstrip("/"), str(root))
        elif root.is_dir():  # a distribution that has not merged /usr
            yield from ("--ro-bind", str(root), str(root))
    yield from ("--perms", "0755", "--dir", "/etc", "--symlink", "../usr/lib/os-release", "/etc/os-release")
    for path, fd in files.items():
        yield from ("--perms", "0644", "--ro-bind-data", str(fd), path)
    shared = [
        "ld.so.cache",
        "alternatives",
        "ssl/certs",
        "ssl/openssl.cnf",
        "ca-certificates",
        "pki/tls/certs",
        "pki/ca-trust",
        "localtime",
    ]
    if network:
        shared += ["resolv.conf", "nsswitch.conf", "services", "protocols", "gai.conf"]
    for name in shared:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    # bubblewrap protects /proc/sys only if it finds it writable, which misses the case that matters.
    yield from ("--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev")
    for name in ("keys", "key-users"):  # the names of the user's keys on the host
        yield from ("--ro-bind-try", "/dev/null", f"/proc/{name}")
    yield from ("--size", str(64 * 1024**2), "--perms", "1777", "--tmpfs", "/dev/shm")  # noqa: S108
    yield from ("--size", str(tmp_bytes), "--perms", "1777", "--tmpfs", "/tmp")  # noqa: S108
    for mode, path in (("0755", "/run"), ("0755", "/run/gm"), ("0755", "/var"), ("0755", "/home")):
        yield from ("--perms", mode, "--dir", path)
    yield from ("--symlink", "../tmp", "/var/tmp")  # noqa: S108


def bind_options(binds: Sequence[Bind]) -> Iterator[str]:
    """The binds in their order, and then nothing else of the root can be written."""
    for bind in binds:
        yield from ("--bind" if bind.writable else "--ro-bind", str(bind.source), bind.target)
    yield from ("--remount-ro", "/")


class Descriptors(ExitStack):
    """What a sandbox inherits; closed here once it has been launched.

    Each exactly once: another thread may have been given the same number meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inherited: list[int] = []
        self._kept: set[int] = set()

    def keep(self, fd: int) -> int:
        self._kept.add(fd)
        self.callback(self.release, fd)
        return fd

    def release(self, fd: int) -> None:
        """Closes one before the others."""
        if fd in self._kept:
            self._kept.remove(fd)
            os.close(fd)

    def inherit(self, fd: int) -> int:
        self.inherited.append(self.keep(fd))
        return fd

    def file(self, content: bytes) -> int:
        """An inherited file in memory."""
        fd = self.inherit(os.memfd_create("gitmachine", os.MFD_CLOEXEC))
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def etc(self, *, network: bool) -> dict[str, int]:
        """The files of /etc that are ours."""
        hosts = _HOSTS
        if network:
            with suppress(OSError):
                hosts = Path("/etc/hosts").read_bytes()
        return {
            "/etc/passwd": self.file(_PASSWD),
            "/etc/group": self.file(_GROUP),
            "/etc/hosts": self.file(hosts),
        }


def launch(plan: Plan) -> Init:
    """Starts a sandbox with its agent. Blocks for some milliseconds; leaves nothing behind on failure.

    The agent may still be on its way when this returns: the first connection waits for it. Raises
    MachineUnavailable, MachineError.
    """
    bwrap = bwrap_path()
    log_path = plan.directory / f"{plan.name}.log"
    with Descriptors() as fds:
        listener = _listen(plan, fds)
        info_reader, info_writer = os.pipe()
        fds.keep(info_reader)
        fds.inherit(info_writer)
        log = fds.keep(os.open(log_path, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600))
        files = fds.etc(network=plan.network)
        files[_PROGRAM] = fds.file(compiled(AGENT.read_bytes(), plan.compiled))
        argv = [bwrap, *confinement(network=plan.network, reads_all=plan.reads_all), "--as-pid-1", "--clearenv"]
        argv += [*file_system(files, plan.tmp_bytes, network=plan.network), *bind_options(plan.binds)]
        for name, value in base_environment(plan.home).items():
            argv += ["--setenv", name, value]
        argv += ["--chdir", "/", "--info-fd", str(info_writer), "--seccomp", str(fds.file(seccomp.program()))]
        argv += ["--", PYTHON, "-I", "-S", _PROGRAM, str(listener), *plan.agent_arguments]
        start_detached(argv, plan.user, fds.inherited, log, plan.groups)
        fds.release(info_writer)
        pid = _read_pid(info_reader, log_path)
    found = proc.stat_of(pid)
    if found is None:
        raise unavailable(_said(log_path))
    return Init(pid, found[1])


def _listen(plan: Plan, fds: Descriptors) -> int:
    """The agent's socket, made here and passed in: in the sandbox it has no name that could be replaced."""
    path = plan.directory / f"{plan.name}.sock"
    path.unlink(missing_ok=True)
    directory = fds.keep(os.open(plan.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fd = fds.inherit(listener.detach())
    with socket.socket(fileno=os.dup(fd)) as bound:
        bound.bind(f"/proc/self/fd/{directory}/{path.name}")
        path.chmod(0o600)
        bound.listen(_BACKLOG)
    return fd


def start_detached(argv: Sequence[str], user: User, inherited: Sequence[int], log: int, groups: Groups) -> None:
    """Runs a program as the machine's user, in its control groups, as nobody's child. Blocks shortly."""
    with subprocess.Popen(
        ["/bin/sh", "-c", _SHIM, "gitmachine", *argv],
        env=BWRAP_ENVIRONMENT,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=log,
        pass_fds=inherited,
        start_new_session=True,
        umask=0o022,
        user=user.uid if user.switch else None,
        group=user.gid if user.switch else None,
        extra_groups=[] if user.switch else None,
    ) as shim:
        try:
            cgroup.enter(groups, shim.pid)
        except MachineError:
            shim.communicate(b"")  # end of file instead of the line: the shim gives up
            raise
        shim.communicate(b"go\n", timeout=_LAUNCH_LIMIT_S)


def _read_pid(fd: int, log_path: Path) -> int:
    """bubblewrap writes {"child-pid": N} and closes; or it fails and only closes."""
    text = b""
    deadline = time.monotonic() + _LAUNCH_LIMIT_S
    while True:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise MachineUnavailable(f"bubblewrap did not start a sandbox within {_LAUNCH_LIMIT_S:g} s")
        data = os.read(fd, 4096)
        text += data
        if b"}" in text:
            return int(json.loads(text)["child-pid"])
        if not data:
            raise unavailable(_said(log_path))


def _said(log_path: Path) -> str:
    with suppress(OSError):
        return log_path.read_text(errors="replace")
    return ""
