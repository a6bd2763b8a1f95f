"""Process 1 of an emulated E2B sandbox: what of envd has to happen inside.

One standalone file for the sandbox's own /usr/bin/python3 (3.9 or later), run as `python3 -I -S guest.py CONTROL_FD`.
It imports only what costs no start-up time, because hundreds of sandboxes are started by one test.

Protocol: every datagram on the control socket brings the descriptor of a new stream socket, and after it those that
the request needs. On that stream the host sends one request and gets its answers: `u32 length` and a marshalled
dictionary each. Requests about files run in a process of their own, so that none blocks another.

Commands stay in this process's group, as they do in envd (`internal/services/process/handler/handler.go` sets
credentials only): `exec setsid` in a command must not fork.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the stubs know only signal
import _socket
import errno
import fcntl
import marshal
import os
import select
import stat
import sys
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

MARSHAL_VERSION = 2  # the same for every Python that the host or the sandbox may have
USER = 1000
NAMES = {0: "root", USER: "user", 65534: "root"}
"""65534: files of the host's root, who has no number in this user namespace."""
FREEZE_LIMIT_S = 5.0
MAX_LINKS = 255

running: dict[int, Connection] = {}  # pid of a command -> whom its end is told


class Connection:
    """One request of the host."""

    def __init__(self, fd: int, given: list[int]) -> None:
        self.socket = _socket.socket(fileno=fd)
        self.socket.setblocking(True)
        self.given = given

    def request(self) -> Message:
        length = int.from_bytes(self._exactly(4), "big")
        message: Message = marshal.loads(self._exactly(length))  # from the host, which made us
        return message

    def answer(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        body = marshal.dumps(message, MARSHAL_VERSION)
        data = len(body).to_bytes(4, "big") + body
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds))]
        try:
            sent = self.socket.sendmsg([data], rights if fds else [], _socket.MSG_NOSIGNAL)
            while sent < len(data):
                sent += self.socket.send(data[sent:], _socket.MSG_NOSIGNAL)
        except OSError:  # the host has hung up: nobody wants to know
            return

    def close(self) -> None:
        self.socket.close()
        for fd in self.given:
            os.close(fd)
        self.given = []

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data


# --- commands ----------------------------------------------------------------------------------------------


def start(connection: Connection, request: Message) -> bool:
    """Starts a command; its end is told on the same connection."""
    cwd = request["cwd"]
    if not os.path.isdir(cwd):
        connection.answer({"error": "invalid_argument", "message": f"cwd '{cwd}' does not exist"})
        return False
    master, slave = os.openpty() if request["pty"] else (-1, -1)
    if slave >= 0:
        connection.given += [slave]
    pid = os.fork()
    if pid == 0:
        run(request, [slave] * 3 if slave >= 0 else connection.given, terminal=slave >= 0)
    running[pid] = connection
    if master >= 0:
        connection.answer({"pid": pid}, (master,))
        os.close(master)
    else:
        connection.answer({"pid": pid})
    for fd in connection.given:
        os.close(fd)
    connection.given = []
    return True


def run(request: Message, streams: list[int], *, terminal: bool) -> None:
    """Becomes the command. Never returns."""
    try:
        if terminal:
            os.setsid()
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        default_signals()
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        os.chdir(request["cwd"])
        os.execvpe(request["argv"][0], request["argv"], request["env"])
    except OSError as error:
        # envd starts every command by a shell of its own, which is why this is an exit code there too.
        os.write(2, f"{request['argv'][0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def default_signals() -> None:
    for number in range(1, 65):
        if number not in (9, 19, 32, 33):
            _signal.signal(number, _signal.SIG_DFL)


def reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection = running.pop(pid, None)
        if connection is not None:
            connection.answer({"status": status})
            connection.close()


def send_signal(request: Message) -> Message:
    try:
        os.kill(request["pid"], request["signal"])
    except ProcessLookupError:
        return {"error": "internal", "message": "error sending signal: os: process already finished"}
    return {}


def others() -> list[bytes]:
    """The states of all processes in this namespace but this one; the dead left out."""
    states = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and entry != "1":
            try:
                with open(f"/proc/{entry}/stat", "rb", buffering=0) as file:
                    state = file.read(4096).rpartition(b")")[2][1:2]
            except OSError:
                continue
            if state not in (b"Z", b"X", b""):
                states.append(state)
    return states


def signal_all(number: int) -> None:
    try:  # noqa: SIM105  # contextlib costs more start-up time than all that we import
        os.kill(-1, number)  # from process 1 of a namespace: everything in it but the sender, in one step
    except ProcessLookupError:
        pass


def freeze(request: Message) -> Message:
    signal_all(_signal.SIGSTOP)
    deadline = time.monotonic() + FREEZE_LIMIT_S
    while any(state not in b"Tt" for state in others()):
        if time.monotonic() > deadline:
            return {"error": "internal", "message": "processes could not be stopped"}
        time.sleep(0.001)
    return {"count": len(others())}


def thaw(request: Message) -> Message:
    signal_all(_signal.SIGCONT)
    return {}


def reboot(request: Message) -> Message:
    """The end of all processes, as of a sandbox that is resumed from its disk alone."""
    signal_all(_signal.SIGKILL)
    return {}


# --- files: each request in a process of its own ---------------------------------------------------------------


class GuestError(Exception):
    """What envd would answer: a Connect code (the files API has a status for each) and a text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def go_text(call: str, path: str, error: OSError) -> str:
    """As Go writes a path error."""
    return f"{call} {path}: {(error.strerror or 'error').lower()}"


def kind_of(mode: int) -> int:
    """filesystem.FileType."""
    return 1 if stat.S_ISREG(mode) else 2 if stat.S_ISDIR(mode) else 0


def go_mode(mode: int) -> str:
    """Go's os.FileMode.String of the kinds that there are."""
    letters = {stat.S_IFDIR: "d", stat.S_IFLNK: "L", stat.S_IFIFO: "p", stat.S_IFSOCK: "S", stat.S_IFCHR: "Dc"}
    first = letters.get(stat.S_IFMT(mode), "-")
    return first + "".join("rwxrwxrwx"[8 - bit] if mode >> bit & 1 else "-" for bit in range(8, -1, -1))


def entry_of(path: str) -> Message:
    """shared/pkg/filesystem/entry.go: the type is that of a link's target, size and permissions are the link's."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise GuestError("not_found", "file not found: " + go_text("lstat", path, error)) from error
    entry: Message = {
        "name": os.path.basename(path.rstrip("/")) or "/",
        "path": path,
        "type": kind_of(found.st_mode),
        "mode": stat.S_IMODE(found.st_mode) & 0o777,
        "size": found.st_size,
        "permissions": go_mode(found.st_mode),
        "owner": NAMES.get(found.st_uid, str(found.st_uid)),
        "group": NAMES.get(found.st_gid, str(found.st_gid)),
        "modified_ns": found.st_mtime_ns,
        "metadata": metadata_of(path),
    }
    if stat.S_ISLNK(found.st_mode):
        entry["is_symlink"] = True
        try:
            entry["symlink_target"] = os.path.realpath(path, strict=True)
            target = os.stat(path).st_mode
            entry["type"], entry["mode"] = kind_of(target), stat.S_IMODE(target) & 0o777
        except OSError:
            entry.update(symlink_target=path, type=0, mode=0)
    return entry


def metadata_of(path: str) -> dict[str, str]:
    try:
        names = os.listxattr(path)
        prefix = "user.e2b."
        return {
            name[len(prefix) :]: os.getxattr(path, name).decode(errors="replace")
            for name in names
            if name.startswith(prefix)
        }
    except OSError:
        return {}


def list_dir(request: Message) -> Message:
    path, depth = request["path"], request["depth"]
    try:
        resolved = os.path.realpath(path, strict=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise GuestError("not_found", "path not found: " + go_text("lstat", path, error)) from error
    except OSError as error:
        raise GuestError("failed_precondition", f'cyclic symlink or chain >{MAX_LINKS} links at "{path}"') from error
    if not os.path.isdir(resolved):
        raise GuestError("invalid_argument", f"path is not a directory: {resolved}")
    return {"entries": walk(resolved, path, depth)}


def walk(real: str, shown: str, depth: int) -> list[Message]:
    """Go's WalkDir: lexical order, never through a link; paths are shown below the one that was asked for."""
    entries = []
    try:
        names = sorted(os.listdir(real))
    except OSError as error:
        message = f"error reading directory {real}: " + go_text("open", real, error)
        raise GuestError("internal", message) from error
    for name in names:
        path = os.path.join(real, name)
        try:
            entry = entry_of(path)
        except GuestError:
            continue
        entry["path"] = os.path.join(shown, name)
        entries.append(entry)
        if depth > 1 and entry["type"] == 2 and "is_symlink" not in entry:
            entries += walk(path, entry["path"], depth - 1)
    return entries


def ensure_dirs(path: str) -> None:
    """permissions/path.go."""
    parts = [part for part in path.split("/") if part]
    for count in range(1, len(parts) + 1):
        below = "/" + "/".join(parts[:count])
        try:
            found = os.stat(below)
        except FileNotFoundError:
            try:
                os.mkdir(below, 0o755)
            except FileExistsError:
                pass
            except OSError as error:
                raise GuestError("internal", "failed to create directory: " + go_text("mkdir", below, error)) from error
            continue
        except OSError as error:
            raise GuestError("internal", "failed to stat directory: " + go_text("stat", below, error)) from error
        if not stat.S_ISDIR(found.st_mode):
            raise GuestError("internal", f"path is a file: {below}")


def make_dir(request: Message) -> Message:
    path = request["path"]
    if os.path.isdir(path):
        raise GuestError("already_exists", f"directory already exists: {path}")
    if os.path.exists(path):
        raise GuestError("invalid_argument", f"path already exists but it is not a directory: {path}")
    ensure_dirs(path)
    return {"entry": entry_of(path)}


def move(request: Message) -> Message:
    source, target = request["source"], request["destination"]
    ensure_dirs(os.path.dirname(target))
    try:
        os.rename(source, target)
    except FileNotFoundError as error:
        text = f"source file not found: rename {source} {target}: no such file or directory"
        raise GuestError("not_found", text) from error
    except OSError as error:
        text = f"error renaming: rename {source} {target}: {(error.strerror or '').lower()}"
        raise GuestError("internal", text) from error
    return {"entry": entry_of(target)}


def remove(request: Message) -> Message:
    """Go's os.RemoveAll: what is not there is a success."""
    path = request["path"]
    if not os.path.lexists(path):
        return {}
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open("/dev/null", os.O_RDWR), 2)
        os.execv("/bin/rm", ["rm", "-rf", "--", path])
    status = os.waitpid(pid, 0)[1]
    if status or os.path.lexists(path):
        raise GuestError("internal", f"error removing file or directory: unlinkat {path}: permission denied")
    return {}


def open_to_read(request: Message) -> tuple[Message, int]:
    """internal/api/download.go."""
    path = request["path"]
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise GuestError("not_found", f"path '{path}' does not exist") from error
    if stat.S_ISDIR(found.st_mode):
        raise GuestError("invalid_argument", f"path '{path}' is a directory")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise GuestError("internal", f"error opening file '{path}': " + go_text("open", path, error)) from error
    return {"size": found.st_size, "modified_ns": found.st_mtime_ns}, fd


def open_to_write(request: Message) -> tuple[Message, int]:
    """internal/api/upload.go."""
    path = request["path"]
    try:
        ensure_dirs(os.path.dirname(path))
    except GuestError as error:
        raise GuestError(error.code, f"error ensuring directories: {error}") from error
    if os.path.isdir(path):
        raise GuestError("invalid_argument", f"path is a directory: {path}")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        code = "no_space" if error.errno == errno.ENOSPC else "internal"
        raise GuestError(code, "error opening file: " + go_text("open", path, error)) from error
    return {}, fd


def dial(request: Message) -> tuple[Message, int]:
    """A connection to a port of the sandbox, made from within its network."""
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        connection.connect(("127.0.0.1", request["port"]))
    except OSError as error:
        connection.close()
        raise GuestError("unavailable", "The sandbox is running but port is not open") from error
    return {}, connection.detach()


AT_ONCE = {"signal": send_signal, "freeze": freeze, "thaw": thaw, "reboot": reboot}
FILES = {
    "stat": lambda request: {"entry": entry_of(request["path"])},
    "list": list_dir,
    "make_dir": make_dir,
    "move": move,
    "remove": remove,
}
OPENERS = {"read": open_to_read, "write": open_to_write, "dial": dial}


def serve_files(connection: Connection, request: Message) -> None:
    """In a child: never returns."""
    try:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        os.umask(0o022)
        operation = request["op"]
        if operation in OPENERS:
            message, fd = OPENERS[operation](request)
            connection.answer(message, (fd,))
        else:
            connection.answer(FILES[operation](request))
    except GuestError as error:
        connection.answer({"error": error.code, "message": str(error)})
    except OSError as error:
        connection.answer({"error": "internal", "message": f"{request['op']}: {error.strerror}"})
    finally:
        os._exit(0)


def operate(connection: Connection) -> None:
    try:
        request = connection.request()
    except (EOFError, OSError):
        connection.close()
        return
    operation = request["op"]
    if operation == "start":
        if not start(connection, request):
            connection.close()
        return
    if operation in AT_ONCE:
        connection.answer(AT_ONCE[operation](request))
    elif os.fork() == 0:
        serve_files(connection, request)
    connection.close()


def take(control: _socket.socket) -> None:
    data, ancillary, _, _ = control.recvmsg(16, 256, _socket.MSG_CMSG_CLOEXEC)
    if not data:
        os._exit(0)  # the host is gone
    fds = [
        int.from_bytes(payload[at : at + 4], sys.byteorder)
        for _, kind, payload in ancillary
        if kind == _socket.SCM_RIGHTS
        for at in range(0, len(payload) - 3, 4)
    ]
    operate(Connection(fds[0], fds[1:]))


def main() -> None:
    try:  # noqa: SIM105
        os.setsid()
    except PermissionError:
        pass
    control = _socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(True)
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) > 2:
            try:
                os.set_inheritable(int(entry), False)
            except OSError:
                continue
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(control.fileno(), select.POLLIN)
    poll.register(reader, select.POLLIN)
    control.send(b"ready")
    while True:
        for fd, _ in poll.poll():
            if fd == reader:
                os.read(reader, 4096)
                reap()
            else:
                take(control)


main()
