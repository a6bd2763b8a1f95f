"""The host as code in a machine must not change it, and what of it a machine must not get at."""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SETTINGS = ("kernel/core_pattern", "kernel/modprobe", "vm/overcommit_memory", "kernel/hostname", "kernel/panic")
_FILES = ("/etc/passwd", "/etc/hosts", "/etc/group", "/usr/bin/env", "/etc/ld.so.preload")


@dataclass
class Host:
    """What the test has put on the host, and who connected to it."""

    given: dict[str, Any]
    listeners: list[socket.socket]
    secret: Path
    before: dict[str, object] = field(default_factory=dict)

    def connected(self) -> list[str]:
        """Those of the listeners that somebody has connected to."""
        found = []
        for listener in self.listeners:
            try:
                listener.accept()[0].close()
                found.append(str(listener.getsockname()))
            except BlockingIOError:
                continue
        return found


def state(secret: Path) -> dict[str, object]:
    """The host's settings, files, devices and mounts, as far as the attacks go for them."""
    found: dict[str, object] = {name: _read(Path("/proc/sys", name)) for name in _SETTINGS}
    found |= {name: (_read(Path(name)), _mode(Path(name))) for name in _FILES}
    found["secret"] = (secret.read_bytes(), _mode(secret), secret.stat().st_nlink)
    null = Path("/dev/null").stat()
    found["null"] = (stat.S_ISCHR(null.st_mode), null.st_rdev)
    mine = str(secret.parent)  # others may mount something meanwhile
    found["mounts"] = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if mine in line]
    found["planted"] = [str(path) for path in (Path("/usr/bin/planted"), Path("/planted")) if path.exists()]
    found["hostname"] = socket.gethostname()
    return found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except OSError:
        return None


@contextmanager
def host(directory: Path, state_directory: Path) -> Iterator[Host]:
    """Puts a secret, sockets, a key and a process on the host, which programs in machines will try to reach."""
    with ExitStack() as stack:
        token = secrets.token_hex(8)
        secret = directory / f"secret-{token}"
        secret.write_text("the host's secret")
        secret.chmod(0o644)
        stack.callback(secret.unlink)
        path, abstract = directory / f"s-{token[:4]}", f"gm-{token}"
        stack.callback(path.unlink)
        listeners = [stack.enter_context(_listener(socket.AF_INET, ("127.0.0.1", 0)))]
        listeners.append(stack.enter_context(_listener(socket.AF_INET6, ("::1", 0))))
        listeners.append(stack.enter_context(_listener(socket.AF_INET, ("0.0.0.0", 0))))
        listeners.append(stack.enter_context(_listener(socket.AF_UNIX, str(path))))
        listeners.append(stack.enter_context(_listener(socket.AF_UNIX, f"\0{abstract}")))
        path.chmod(0o777)
        bystander = stack.enter_context(
            subprocess.Popen(["sleep", "1000"], env={"PATH": os.environ["PATH"], "MARK": f"mark-{token}"})
        )
        stack.callback(bystander.kill)
        given = {
            "secret": str(secret), "state": str(state_directory), "token": token, "home": str(Path.home()),
            "hostname": socket.gethostname(), "port": listeners[0].getsockname()[1],
            "port6": listeners[1].getsockname()[1], "any_port": listeners[2].getsockname()[1],
            "addresses": _addresses(), "socket": str(path), "abstract": abstract, "mark": f"mark-{token}",
            "pid": bystander.pid, "key": stack.enter_context(_key()),
            "shared_memory": stack.enter_context(_shared_memory()), "engine_sockets": [],
        }  # fmt: skip
        yield Host(given, listeners, secret, state(secret))


def _listener(family: int, address: Any) -> socket.socket:
    made = socket.socket(family)
    made.bind(address)
    made.listen()
    made.setblocking(False)
    return made


def _addresses() -> list[str]:
    """The host's own addresses beside its loopback, by a socket that sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        return [str(probe.getsockname()[0])]


@contextmanager
def _key() -> Iterator[int]:
    """A key in this process's session keyring (keyctl(2)); 0 where the kernel keeps none."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    add_key, keyctl = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
    key = max(0, libc.syscall(add_key, b"user", b"gm-test", b"secret", 6, -3))
    yield key
    if key:
        libc.syscall(keyctl, 9, key, -3)


@contextmanager
def _shared_memory() -> Iterator[list[int]]:
    """The key of a System V segment of the host's (shmget(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = secrets.randbelow(1 << 30) + 1
    segment = libc.shmget(key, 4096, 0o1666)
    yield [key]
    if segment >= 0:
        libc.shmctl(segment, 0, None)
