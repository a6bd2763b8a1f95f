"""One bubblewrap sandbox with the guest as its first process: real processes, real files, a real pause."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import struct
import subprocess
import tempfile
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gitmachine.settings import MACHINE_UID
from tests.e2b_endpoint.wire import Conversation, GuestGone, Message, readable

HOME = "/home/user"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_LIMIT_S = 30.0
END_LIMIT_S = 30.0
_PYTHON = ("/usr/bin/python3", "-I", "-S")
_GUEST = Path(__file__).with_name("guest.py").read_bytes()
_ETC = {
    "passwd": b"root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\n",
    "group": b"root:x:0:\nuser:x:1000:\n",
    "hosts": b"127.0.0.1 localhost e2b.local\n::1 localhost\n",
    "hostname": b"e2b.local\n",
    # Debian's for who is not root, as in the template `base`: commands are login shells, and their PATH is this.
    "profile": b'PATH="/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"\nexport PATH\n',
}
_SHARED_ETC = ("ld.so.cache", "alternatives", "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "localtime")


class BootError(Exception):
    """bubblewrap did not start a sandbox."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a terminal."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Order:
    """A command as envd's process.Start asks for it, its paths and its user resolved."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    stdin: bool = False
    pty: Size | None = None


@dataclass(slots=True)
class Child:
    """A command's pid as seen inside, our ends of its pipes (the caller closes them), and whom its end is told."""

    pid: int
    stdin: int
    """-1: /dev/null."""
    outputs: dict[str, int]
    """`stdout` and `stderr`, or `pty`, of which `stdin` is a duplicate."""
    conversation: Conversation

    async def status(self) -> int:
        """As waitpid(2) gives it. Raises GuestGone."""
        try:
            status: int = (await self.conversation.answer())["status"]
            return status
        finally:
            self.conversation.close()

    def resize(self, size: Size) -> None:
        fcntl.ioctl(self.outputs["pty"], termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))


class GuestRefused(Exception):
    """The guest answers as envd would: `code` is Connect's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Box:
    """A sandbox that runs, or is frozen, until `end`. Belongs to the event loop that booted it."""

    def __init__(self, process: subprocess.Popen[bytes], init: int, control: socket.socket) -> None:
        self._process = process
        self._init = init
        self._control = control

    @classmethod
    async def boot(cls) -> Box:
        """Some tens of milliseconds. Raises BootError."""
        with ExitStack() as stack:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.callback(theirs.close)
            info, info_writer = os.pipe()
            stack.callback(os.close, info)
            said = stack.enter_context(tempfile.TemporaryFile())
            process = _launch(theirs.fileno(), info_writer, said.fileno())
            theirs.close()
            try:
                await _hear(ours)
                init = json.loads(os.read(info, 4096))["child-pid"]
            except (OSError, TimeoutError) as error:
                ours.close()
                process.kill()
                process.wait()
                said.seek(0)
                raise BootError(said.read().decode(errors="replace") or "the guest did not start") from error
            return cls(process, init, ours)

    async def ask(self, op: str, **fields: object) -> Message:
        """One answer. Raises GuestGone, GuestRefused."""
        conversation = await Conversation.begin(self._control, {"op": op, **fields})
        try:
            return _checked(await conversation.answer())
        finally:
            conversation.close()

    async def open(self, op: str, **fields: object) -> tuple[Message, int]:
        """As `ask`, for what answers with a descriptor, which the caller closes."""
        conversation = await Conversation.begin(self._control, {"op": op, **fields})
        try:
            message = _checked(await conversation.answer())
            return message, conversation.take_fd()
        finally:
            conversation.close()

    async def start(self, order: Order) -> Child:
        """Raises GuestGone, GuestRefused."""
        with _Streams(order) as streams:
            request = {
                "op": "start",
                "argv": list(order.argv),
                "env": dict(order.env),
                "cwd": order.cwd,
                "pty": order.pty is not None,
            }
            conversation = await Conversation.begin(self._control, request, streams.theirs)
            try:
                pid = _checked(await conversation.answer())["pid"]
                return streams.child(pid, order, conversation)
            except BaseException:
                conversation.close()
                raise

    async def end(self) -> None:
        """Returns when none of its processes is left."""
        self._control.close()
        # The first process, and not bubblewrap: its end is told only after that of everything in its namespace.
        pidfd = os.pidfd_open(self._process.pid)
        try:
            if self._process.poll() is None:
                os.kill(self._init, 9)
                async with asyncio.timeout(END_LIMIT_S):
                    await readable(pidfd)
        except ProcessLookupError:
            pass  # has just ended by itself
        finally:
            os.close(pidfd)
            self._process.wait()


class _Streams:
    """The pipes of one command, until they are handed over."""

    def __init__(self, order: Order) -> None:
        self.theirs: list[int] = []
        self._ours: list[int] = []
        if order.pty is not None:
            return
        if order.stdin:
            reader, writer = os.pipe()
            self.theirs.append(reader)
            self._ours.append(writer)
        else:
            self.theirs.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        for _ in range(2):
            reader, writer = os.pipe()
            self.theirs.append(writer)
            self._ours.append(reader)
        if os.geteuid() == 0:
            for fd in self.theirs:
                if order.stdin or fd != self.theirs[0]:  # a command may open /dev/stdout, as its user
                    os.fchown(fd, MACHINE_UID, MACHINE_UID)

    def child(self, pid: int, order: Order, conversation: Conversation) -> Child:
        if order.pty is not None:
            master = conversation.take_fd()
            self._ours = [os.dup(master), master]
        ours, self._ours = self._ours, []
        for fd in ours:
            os.set_blocking(fd, False)
        stdin = ours.pop(0) if order.stdin or order.pty is not None else -1
        child = Child(
            pid,
            stdin,
            dict(zip(("stdout", "stderr") if order.pty is None else ("pty",), ours, strict=True)),
            conversation,
        )
        if order.pty is not None:
            child.resize(order.pty)
        return child

    def __enter__(self) -> _Streams:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for fd in (*self.theirs, *self._ours):
            os.close(fd)


def _checked(message: Message) -> Message:
    if "error" in message:
        raise GuestRefused(message["error"], message["message"])
    return message


async def _hear(control: socket.socket) -> None:
    """Waits for the guest's first word. Raises OSError, TimeoutError."""
    control.setblocking(False)
    async with asyncio.timeout(BOOT_LIMIT_S):
        if await asyncio.get_running_loop().sock_recv(control, 16) != b"ready":
            raise ConnectionResetError


def _launch(control: int, info: int, said: int) -> subprocess.Popen[bytes]:
    """bubblewrap, and never as root: to the kernel a sandboxed root is root."""
    with ExitStack() as stack:
        stack.callback(os.close, info)
        fds = {"/run/e2b/guest.py": _memory(stack, _GUEST)}
        fds.update({f"/etc/{name}": _memory(stack, content) for name, content in _ETC.items()})
        user = [] if os.geteuid() else ["setpriv", f"--reuid={MACHINE_UID}", f"--regid={MACHINE_UID}", "--clear-groups"]
        return subprocess.Popen(
            [*user, "bwrap", *_options(fds, info), "--", *_PYTHON, "/run/e2b/guest.py", str(control)],
            # TMPDIR says whose it is to those who look for what a test run has left behind.
            env={"PATH": PATH, "TMPDIR": tempfile.gettempdir()},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=[control, info, *fds.values()],
        )


def _memory(stack: ExitStack, content: bytes) -> int:
    fd = os.memfd_create("e2b", os.MFD_CLOEXEC)
    stack.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _options(files: Mapping[str, int], info: int) -> Iterator[str]:
    # The sandbox ends with us, however we end: nothing of a test double may outlive its test.
    yield from ("--die-with-parent", "--as-pid-1", "--new-session", "--clearenv", "--info-fd", str(info))
    yield from ("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts")
    yield from ("--hostname", "e2b.local", "--uid", "1000", "--gid", "1000")
    yield from ("--ro-bind", "/usr", "/usr")
    yield from _merged_usr(("bin", "sbin", "lib", "lib32", "lib64", "libx32"))
    for path, fd in files.items():
        yield from ("--perms", "0644", "--ro-bind-data", str(fd), path)
    for name in _SHARED_ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    yield from ("--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp")
    yield from ("--perms", "0755", "--dir", "/root", "--perms", "0755", "--tmpfs", HOME)
    yield from ("--symlink", "../tmp", "/var/tmp", "--chdir", "/", "--setenv", "PATH", PATH)


def _merged_usr(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        root = Path("/", name)
        if root.is_symlink():
            yield from ("--symlink", os.readlink(root).lstrip("/"), str(root))
        elif root.is_dir():
            yield from ("--ro-bind", str(root), str(root))


__all__ = ["HOME", "PATH", "BootError", "Box", "Child", "GuestGone", "GuestRefused", "Order", "Size"]
