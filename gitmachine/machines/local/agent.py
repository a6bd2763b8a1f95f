"""The exec agent: process 1 of a sandbox. Starts commands, ends them, reaps what is left.

One standalone file for the sandbox's own /usr/bin/python3 (3.9 or later), run as
`python3 -I -S agent.py LISTENER [name=value …]`, where LISTENER is a descriptor or the path of a socket to make;
nothing of GitMachine is there to be imported. It imports only what costs no start-up time, which is why it takes
`_socket` and `_signal` and not their wrappers.

Protocol: one connection is one operation. The host sends `u32 length` and that many bytes of fields, each
`u32 length` and bytes; the first field is the operation. Descriptors ride along (SCM_RIGHTS). The agent answers
in frames of five bytes: a letter and a u32.

- `exec cwd command NAME=VALUE…` and `call function path [argument]`, with the descriptors stdout and stderr to
  write to, the same two pipes to read from, and optionally stdin. Answers `E status` when the shell has ended,
  `C errno` when there is no such cwd, `R errno` when nothing could be started. A byte `k` from the host, or the
  end of its connection, kills the whole tree; `K 0` says that none of it is left. `X limits` before `E` says which
  limits the command ran into, added up: 1 memory and 2 processes, as the kernel counted, or 2 when what earlier
  commands had left running was killed to make room; 4 disk, and everything was killed.
- `limit name=value…`: sets limits on what is started from now on; answers `A 0`.
- `listen port`: answers `L 0` with the descriptor of a socket that listens on that port of 127.0.0.1, always the same.
- `marks directory name…`: answers `M length` and so many bytes, which are the same again only if nothing has changed
  of these files and of all that is below these directories; none when that cannot be told. `tree_marks directory`:
  the same of a working tree, without its .git.
- `quiet`: stops every other process, answers `Q count`, and lets them go on when the connection ends.
- `ping`: answers `P 0`.

Output never passes through here: the host reads the command's own pipes. The agent holds a second reader of
each, and empties it once the host has gone, so that background processes never die of SIGPIPE.

Every process of a command carries the command's tag: the soft limit RLIMIT_RTTIME, which nothing else uses,
every descendant inherits, whatever session or parent it moves to, and /proc/PID/limits shows.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the stubs know only signal
import _socket
import errno
import os
import resource
import select
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Ready = Callable[[int], object]

MAX_REQUEST_BYTES = 32 * 1024 * 1024
MAX_ARGUMENT_BYTES = 120_000  # MAX_ARG_STRLEN is 128 KiB
KILL_INTERVAL_S = 0.002
SOCKET_BACKLOG = 4096
STOP_PASSES = 200
MARKS_FILES = 2000
LARGE_FOR_S = 30.0  # what was too much a moment ago is not walked through again for the same answer
MARKS_REST_NS = 20_000_000  # two changes may bear one time: the kernel's clock ticks every 1 to 10 ms
DISK_INTERVAL_S = 0.25
DISK_STEP_BYTES = 1024 * 1024
NEVER = float("inf")
RECOUNT_S, RECOUNT_SHARE, FREED_SHARE = 5.0, 100, 30  # a hundredth of a processor; a thirtieth when somebody frees
EXCEEDED_PROCESSES, EXCEEDED_DISK = 2, 4
ENGINES_MARKS = ("/.dockerenv", "/run/.containerenv")
CHUNK_BYTES = 256 * 1024
BACKLOG = 512
PR_SET_DUMPABLE, PR_SET_SECCOMP = 4, 22
SHELL = b"/bin/bash" if os.path.exists("/bin/bash") else b"/bin/sh"  # of a sandbox that is told no other
LONG_COMMAND = b'eval "$(cat <&3)" 3<&-'

DEFAULT_SIGNALS = [s for s in range(1, 65) if s not in (9, 19, 32, 33)]

epoll = select.epoll()
on_ready: dict[int, Ready] = {}  # descriptor -> function to call with the events
jobs: dict[int, Job] = {}  # pid of the shell -> Job
killing: list[Job] = []  # jobs whose tree is being killed
connections: set[Connection] = set()
quiet_holders: set[Connection] = set()
quiet_stopped: list[int] = []
large: dict[bytes, float] = {}  # of what `marks` was asked that was too much -> until when it counts as that
not_ours: set[int] = set()  # processes of another user, such as a relay
next_tag = 1
listeners: dict[bytes, _socket.socket] = {}  # port -> what the host accepts connections from
disk: Disk | None = None
began_at = time.monotonic()
ends_at = 0.0  # 0 for never
devnull = -1
oom_score = -1
counters: list[tuple[int, int, bytes]] = []  # what X says, the file where the kernel counts, the name it counts under


def watch(fd: int, events: int, function: Ready) -> None:
    on_ready[fd] = function
    epoll.register(fd, events)


def forget(fd: int) -> None:
    if on_ready.pop(fd, None) is not None:
        epoll.unregister(fd)


# --- processes ---------------------------------------------------------------------------------------------


def read_proc(pid: int | str, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.read(4096)
    except OSError:
        return b""


def other_processes() -> Iterator[tuple[int, bytes]]:
    """(pid, state) of all in this namespace but the agent; the dead ones left out."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and entry != "1":
            state = read_proc(entry, "stat").rpartition(b")")[2][1:2]
            if state not in (b"Z", b"X", b""):
                yield int(entry), state


def tag_of(pid: int) -> int:
    for line in read_proc(pid, "limits").splitlines():
        if line.startswith(b"Max realtime timeout"):
            value = line.split()[3]
            return int(value) if value.isdigit() else 0
    return 0


def user_of(pid: int) -> int:
    found = read_proc(pid, "status").partition(b"\nUid:")[2].split()
    return int(found[0]) if found else -1


def signal_process(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except PermissionError:
        not_ours.add(pid)
        return False
    except OSError:
        return False
    return True


def kill_pass(tag: int) -> bool:
    """Kills what carries the tag; says whether anything did."""
    found = [pid for pid, _ in other_processes() if tag_of(pid) == tag]
    for pid in found:
        signal_process(pid, 9)
    return bool(found)


def crowded() -> bool:
    """Whether so many processes run that a command could not start its own."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    return limit != resource.RLIM_INFINITY and sum(map(str.isdigit, os.listdir("/proc"))) > limit * 3 // 4


def end_leftovers() -> bool:
    """Kills what belongs to no command that still runs; says whether there was anything."""
    running = {job.tag for job in jobs.values()}
    found = False
    for _ in range(STOP_PASSES):
        left = [pid for pid, _ in other_processes() if tag_of(pid) not in running]
        if not left:
            break
        found = True
        for pid in left:
            signal_process(pid, 9)
        reap()
    return found


def reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        job = jobs.pop(pid, None)
        if job is not None:
            job.ended(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def stop_others() -> int:
    """SIGSTOP to all others, again until a whole pass finds none running that can be stopped."""
    not_ours.clear()
    for _ in range(STOP_PASSES):
        running = [pid for pid, state in other_processes() if state not in (b"T", b"t") and pid not in not_ours]
        if not running:
            break
        for pid in running:
            if signal_process(pid, 19):
                quiet_stopped.append(pid)
        reap()
    return len(quiet_stopped)


def end_quiet() -> None:
    while quiet_stopped:
        signal_process(quiet_stopped.pop(), 18)


# --- what the kernel counts about the machine, where it is seen from here: in containers -------------------


def open_counters() -> None:
    for bit, path, name in (
        (1, "/sys/fs/cgroup/memory.events", b"oom_kill"),
        (1, "/sys/fs/cgroup/memory/memory.oom_control", b"oom_kill"),
        (2, "/sys/fs/cgroup/pids.events", b"max"),
        (2, "/sys/fs/cgroup/pids/pids.events", b"max"),
    ):
        try:
            counters.append((bit, os.open(path, os.O_RDONLY | os.O_CLOEXEC), name))
        except OSError:
            continue


def counts() -> dict[int, int]:
    found = {}
    for bit, fd, name in counters:
        for line in os.pread(fd, 4096, 0).splitlines():
            words = line.split()
            if len(words) == 2 and words[0] == name:
                found[bit] = int(words[1])
    return found


# --- commands ----------------------------------------------------------------------------------------------


class Job:
    """One command: its shell's pid, its tag, the host's connection and the second readers of its pipes."""

    def __init__(self, connection: Connection, tag: int, readers: list[int]) -> None:
        self.connection = connection
        self.tag = tag
        self.readers = readers
        self.running = True
        self.gone = False
        self.counted = counts()

    def ended(self, status: int) -> None:
        self.running = False
        exceeded = sum(bit for bit, count in counts().items() if count > self.counted.get(bit, 0))
        if exceeded:
            self.connection.send(b"X", exceeded)
        self.connection.send(b"E", status)
        if self.gone:
            self.discard()

    def kill(self) -> None:
        kill_pass(self.tag)
        if self not in killing:
            killing.append(self)

    def killed(self) -> None:
        self.connection.send(b"K", 0)

    def host_left(self) -> None:
        self.gone = True
        if self.running:
            self.kill()
        else:
            self.discard()

    def discard(self) -> None:
        """Goes on emptying the pipes for those who still hold the other end."""
        while self.readers:
            fd = self.readers.pop()
            os.set_blocking(fd, False)
            if drain(fd):
                watch(fd, select.EPOLLIN, drainer(fd))


def drainer(fd: int) -> Ready:
    return lambda events: drain(fd)


def drain(fd: int) -> bool:
    """Empties a pipe; closes it and gives False when nobody can write to it any more."""
    try:
        for _ in range(64):
            if not os.read(fd, CHUNK_BYTES):
                forget(fd)
                os.close(fd)
                return False
    except BlockingIOError:
        pass
    return True


def new_tag() -> int:
    global next_tag
    next_tag += 1
    hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    ceiling = 1 << 60 if hard == resource.RLIM_INFINITY else min(hard, 1 << 60)
    resource.setrlimit(resource.RLIMIT_RTTIME, (ceiling - next_tag, hard))
    return ceiling - next_tag


def set_oom_score(value: bytes) -> None:
    # Whatever runs out of memory in here should be a command, not the agent.
    if oom_score >= 0:
        os.pwrite(oom_score, value, 0)


def spawn(command: bytes, environment: dict[bytes, bytes], streams: list[int]) -> int:
    # Long commands do not fit in one argument: the shell reads them from descriptor 3.
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    long_text = -1
    if len(command) > MAX_ARGUMENT_BYTES:
        long_text = os.memfd_create("command")
        with open(long_text, "wb", closefd=False) as file:
            file.write(command)
        os.lseek(long_text, 0, 0)
        actions.append((os.POSIX_SPAWN_DUP2, long_text, 3))
        command = LONG_COMMAND
    try:
        return os.posix_spawn(
            SHELL,
            [SHELL, b"-c", b"--", command],
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=DEFAULT_SIGNALS,
        )
    finally:
        if long_text >= 0:
            os.close(long_text)


def start_exec(connection: Connection, fields: list[bytes], streams: list[int]) -> int:
    environment = {}
    for field in fields[2:]:
        name, _, value = field.partition(b"=")
        environment[name] = value
    try:
        os.chdir(fields[0])
    except OSError as error:
        connection.send(b"C", error.errno or errno.EIO)
        return 0
    try:
        return spawn(fields[1], environment, streams)
    finally:
        os.chdir("/")


def start_call(fields: list[bytes], streams: list[int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        for number in DEFAULT_SIGNALS:
            _signal.signal(number, _signal.SIG_DFL)
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        os.chdir(os.environb.get(b"HOME", b"/"))
        CALLS[fields[0]](*fields[1:])
        os._exit(0)
    except OSError as error:
        os.write(2, str(error.strerror).encode())
        os._exit(error.errno if error.errno and error.errno < 125 else errno.EIO)
    finally:
        os._exit(errno.EIO)


# --- file calls, each in a process of its own, which ends with the errno of what went wrong ------------------


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def copy(source: int, target: int) -> None:
    while data := os.read(source, CHUNK_BYTES):
        write_all(target, data)


def open_regular(path: bytes, flags: int) -> int:
    # Without O_NONBLOCK a fifo would hold us for ever.
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return fd


def make_dirs(path: bytes) -> None:
    os.makedirs(path, exist_ok=True)


def call_read(path: bytes) -> None:
    copy(open_regular(path, os.O_RDONLY), 1)


def call_write(path: bytes) -> None:
    parent = os.path.dirname(path)
    if parent:
        make_dirs(parent)
    fd = open_regular(path, os.O_WRONLY | os.O_CREAT)
    os.ftruncate(fd, 0)
    copy(0, fd)
    os.close(fd)


def call_list(path: bytes) -> None:
    write_all(1, b"\0".join(sorted(os.listdir(path))))


def call_exists(path: bytes) -> None:
    os.lstat(path)


def call_remove(path: bytes) -> None:
    os.lstat(path)
    os.execv(b"/bin/rm", [b"rm", b"-rf", b"--", path])  # noqa: S606


CALLS = {
    b"read": call_read,
    b"write": call_write,
    b"list": call_list,
    b"make_dir": make_dirs,
    b"exists": call_exists,
    b"remove": call_remove,
}


# --- whether anything has changed --------------------------------------------------------------------------


def marks(waiting: list[bytes], left_out: bytes = b"", *, links: bool = False) -> bytes:
    """A word for what lstat(2) says of files and all that is below; none when it changed just now or is much.

    Nobody but the kernel sets the time of the last change to an inode, not even who sets back the time of a file.
    Unless `links` are taken for what they are, one that leads elsewhere says nothing of what is there.
    """
    lines: list[bytes] = []
    top = waiting[0] if waiting else b""
    if large.get(top, 0.0) > time.monotonic():
        return b""
    newest = time.time_ns() - MARKS_REST_NS
    kinds = (stat.S_IFREG, stat.S_IFDIR, *((stat.S_IFLNK,) if links else ()))
    try:
        while waiting:
            path = waiting.pop()
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                continue
            kind = stat.S_IFMT(found.st_mode)
            if kind not in kinds or found.st_ctime_ns >= newest:
                return b""
            fields = (found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            lines.append(b"%s %d %d %d %d %d" % (path, *fields))
            if kind == stat.S_IFDIR:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.path != left_out:
                            waiting.append(entry.path)
                        if len(lines) + len(waiting) > MARKS_FILES:
                            large[top] = time.monotonic() + LARGE_FOR_S
                            return b""
    except OSError:
        return b""
    # SipHash with a key that only this process has: nobody can make two states alike, and another's are all unlike.
    return b"%d %d" % (len(lines), hash(b"\n".join(sorted(lines)))) if lines else b""


# --- the disk limit ----------------------------------------------------------------------------------------


class Disk:
    """Keeps what a directory holds below a limit, on a file system that counts for everybody together.

    Asking the file system costs nothing, so that is done all the time; only when it has filled by a part of what is
    left is the directory itself counted, by a process of its own; and now and then without that, since others may
    free as much as is written here, more often when somebody has been seen to. Where the system can be written, in
    a container, what was written there since the container was made counts, too. While no process is there that could
    write, nobody looks: a thousand machines that wait are not to wake up four thousand times a second.

    Above the limit a command begins only once a count has ended that began after it came: what was freed before is then
    no longer tolerated, and what it writes itself is not taken for what was there.
    """

    def __init__(self, path: str, limit: int, *, system: bool) -> None:
        self.path = path
        self.limit = limit
        self.system_since = system_began() if system else 0.0
        self.tolerated = 0  # above the limit, after a kill: what may stay, and not grow
        self.settling = False  # after a kill, until it is known what was written up to it
        self.step = max(DISK_STEP_BYTES, limit // 8)
        self.began = self.mark = self.filled()
        self.freed = 0  # what the file system lost since the count: as much may have been written unseen
        self.due = 0.0
        self.counting = False
        self.waiting: list[Callable[[], None]] = []  # commands for the next count
        self.counted_for: list[Callable[[], None]] = []  # those of the present one
        self.cost = 0.0  # of a count, in seconds of a processor: a busy host makes it longer and not dearer
        self.looked_at = time.monotonic()  # when it was last known, or nobody was there to write

    def filled(self) -> int:
        return max(map(filled, (self.path, "/") if self.system_since else (self.path,)))

    def look(self, now: float) -> None:
        self.due = now + DISK_INTERVAL_S
        filled = self.filled()
        self.freed += max(0, self.mark - filled)
        self.mark = min(self.mark, filled)
        if self.counting:
            return
        if self.settling or self.waiting or filled - self.mark >= self.step:
            self.count(filled)
        elif not jobs and not any(user_of(pid) == os.getuid() for pid, _ in other_processes()):
            self.due = NEVER
        elif now >= self.looked_at + self.rest():
            self.looked_at = now
            self.count(filled)

    def wake(self) -> None:
        """Something is about to begin that may write."""
        if self.due == NEVER:
            self.mark, self.freed = self.filled(), 0
            self.looked_at = time.monotonic()
            self.due = self.looked_at + DISK_INTERVAL_S

    def rest(self) -> float:
        if self.freed >= self.step:
            return FREED_SHARE * self.cost
        return max(RECOUNT_S, RECOUNT_SHARE * self.cost)

    def admit(self, begin: Callable[[], None]) -> None:
        """Lets a command begin, now or after a count. While the machine is quiet a count might be stopped itself."""
        if quiet_holders or not (self.settling or self.tolerated):
            begin()
        else:
            self.waiting.append(begin)
            self.due = 0.0

    def let_in(self) -> None:
        begun, self.counted_for = self.counted_for, []
        for begin in begun:
            begin()

    def count(self, filled: int) -> None:
        self.counted_for, self.waiting = self.waiting, []
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
        except OSError:  # no room for a process: another time
            os.close(reader)
            os.close(writer)
            self.let_in()
            return
        if pid == 0:
            try:
                os.nice(0 if self.counted_for else 5)
                used = used_bytes(self.path, self.system_since, filled - self.began)
                os.write(writer, f"{used} {time.process_time()}".encode())
            finally:
                os._exit(0)
        os.close(writer)
        self.counting, self.mark, self.freed = True, filled, 0
        watch(reader, select.EPOLLIN, lambda events: self.counted(reader))

    def counted(self, reader: int) -> None:
        text = os.read(reader, 64)
        forget(reader)
        os.close(reader)
        self.counting = False
        self.looked_at = time.monotonic()
        if text:  # else somebody has killed the process that counted
            used, cost = text.split()
            self.cost = float(cost)
            self.judge(int(used))
        self.let_in()

    def judge(self, used: int) -> None:
        self.step = max(DISK_STEP_BYTES, (self.limit - used) // 4)
        settling, self.settling = self.settling, False
        if used <= self.limit:
            self.tolerated = 0
        elif settling or used <= self.tolerated:
            self.tolerated = used
        else:
            self.settling, self.due = True, 0.0
            # Those that wait have written nothing, but the next count is theirs, too.
            self.waiting, self.counted_for = self.counted_for + self.waiting, []
            for job in jobs.values():
                job.connection.send(b"X", EXCEEDED_DISK)
            signal_process(-1, 9)


def filled(path: str) -> int:
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def system_began() -> float:
    """When this container was made, if the engine has left a mark of it, else now."""
    return min([time.time(), *(os.stat(path).st_ctime for path in ENGINES_MARKS if os.path.exists(path))])


def below(path: str, since: float, seen: set[tuple[int, int]]) -> int:
    """What files below a directory take up that have changed since then; other file systems are left out."""
    total, device, paths = 0, os.lstat(path).st_dev, [path]
    while paths:
        try:
            with os.scandir(paths.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode) and found.st_dev == device:
                        paths.append(entry.path)
                    if found.st_ctime < since:
                        continue
                    if found.st_nlink < 2 or stat.S_ISDIR(found.st_mode) or (found.st_dev, found.st_ino) not in seen:
                        total += found.st_blocks * 512
                        seen.add((found.st_dev, found.st_ino))
        except OSError:  # gone meanwhile, or closed to its owner
            continue
    return total


def used_bytes(path: str, system_since: float, growth: int) -> int:
    """What the files below a directory take up, those included that have no name any more and are still open."""
    seen: set[tuple[int, int]] = set()
    total = below(path, 0, seen)
    devices = {os.lstat(path).st_dev}
    if system_since:
        total += below("/", system_since, seen)
        devices.add(os.lstat("/").st_dev)
    hidden = False
    for pid, _ in other_processes():
        try:
            if user_of(pid) != os.getuid():  # a relay, which holds nothing
                continue
            for name in os.listdir(f"/proc/{pid}/fd"):
                found = os.stat(f"/proc/{pid}/fd/{name}")
                if found.st_nlink == 0 and found.st_dev in devices and (found.st_dev, found.st_ino) not in seen:
                    total += found.st_blocks * 512
                    seen.add((found.st_dev, found.st_ino))
        except PermissionError:
            hidden = True  # it keeps from us what it has open: whatever the file system has lost since is put on it
        except OSError:
            continue
    return max(total, growth) if hidden else total


# --- connections -------------------------------------------------------------------------------------------


class Connection:
    """One operation of the host."""

    def __init__(self, fd: int) -> None:
        self.socket = _socket.socket(fileno=fd)
        self.fd = fd
        self.received = b""
        self.descriptors: list[int] = []
        self.job: Job | None = None
        self.open = True
        os.set_blocking(fd, False)
        connections.add(self)
        watch(fd, select.EPOLLIN, self.ready)
        self.ready(select.EPOLLIN)

    def send(self, letter: bytes, value: int, data: bytes = b"") -> None:
        if self.open:
            try:
                self.socket.send(letter + value.to_bytes(4, "big") + data, _socket.MSG_NOSIGNAL)
            except OSError:
                self.close()

    def ready(self, events: int) -> None:
        try:
            data, ancillary, _, _ = self.socket.recvmsg(CHUNK_BYTES, 64)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self.take(payload)
        if not data:
            self.close()
        elif self.job is not None:
            self.job.kill()
        elif not self.open or self in quiet_holders:
            return
        else:
            self.received += data
            self.parse()

    def take(self, payload: bytes) -> None:
        for start in range(0, len(payload) - 3, 4):
            fd = int.from_bytes(payload[start : start + 4], sys.byteorder)
            os.set_inheritable(fd, False)
            self.descriptors.append(fd)

    def parse(self) -> None:
        if len(self.received) < 4:
            return
        length = int.from_bytes(self.received[:4], "big")
        if length > MAX_REQUEST_BYTES:
            self.close()
        elif len(self.received) >= 4 + length:
            fields = split(self.received[4 : 4 + length])
            self.received = b""
            self.operate(fields[0], fields[1:])

    def operate(self, operation: bytes, fields: list[bytes]) -> None:
        if operation == b"ping":
            self.send(b"P", 0)
        elif operation == b"limit":
            take_limits(dict(field.decode().split("=", 1) for field in fields))
            self.send(b"A", 0)
        elif operation == b"listen":
            self.give_listener(fields[0])
        elif operation == b"marks":
            found = marks([fields[0] + b"/" + name for name in fields[1:]])
            self.send(b"M", len(found), found)
        elif operation == b"tree_marks":
            found = marks(fields[:1], fields[0] + b"/.git", links=True)
            self.send(b"M", len(found), found)
        elif operation == b"quiet":
            quiet_holders.add(self)
            self.send(b"Q", stop_others())
        elif operation in (b"exec", b"call") and len(self.descriptors) >= 4:
            if disk is None:
                self.start(operation, fields)
            else:
                disk.admit(lambda: self.start(operation, fields))
        else:
            self.close()

    def give_listener(self, port: bytes) -> None:
        try:
            descriptor = listening(port).fileno().to_bytes(4, sys.byteorder)
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor)
            self.socket.sendmsg([b"L" + bytes(4)], [rights])
        except OSError as error:
            self.send(b"R", error.errno or errno.EIO)

    def start(self, operation: bytes, fields: list[bytes]) -> None:
        if not self.open:  # it had to wait, and nobody waits for it any more
            return
        if disk is not None:
            disk.wake()
        given, self.descriptors = self.descriptors, []
        streams = [given[4] if len(given) > 4 else devnull, given[0], given[1]]
        job = Job(self, new_tag(), given[2:4])
        set_oom_score(b"300")
        try:
            pid = self.begin(operation, fields, streams)
        except OSError as error:
            self.send(b"R", error.errno or errno.EIO)
            pid = 0
        finally:
            set_oom_score(b"0")
            for fd in given[:2] + given[4:]:
                os.close(fd)
        if pid:
            self.job = job
            jobs[pid] = job
            if self.received:  # it is to be killed since before it began
                job.kill()
        else:
            for fd in job.readers:
                os.close(fd)

    def begin(self, operation: bytes, fields: list[bytes], streams: list[int]) -> int:
        try:
            if not crowded():
                return start_exec(self, fields, streams) if operation == b"exec" else start_call(fields, streams)
        except BlockingIOError:  # EAGAIN of fork(2)
            pass
        # Without room for one more command nobody could make any.
        if end_leftovers():
            self.send(b"X", EXCEEDED_PROCESSES)
        return start_exec(self, fields, streams) if operation == b"exec" else start_call(fields, streams)

    def close(self) -> None:
        if not self.open:
            return
        self.open = False
        forget(self.fd)
        self.socket.close()
        for fd in self.descriptors:
            os.close(fd)
        connections.discard(self)
        if self.job is not None:
            self.job.host_left()
        if self in quiet_holders:
            quiet_holders.discard(self)
            if not quiet_holders:
                end_quiet()


def listening(port: bytes) -> _socket.socket:
    if port not in listeners:
        made = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", int(port)))
        made.listen(BACKLOG)
        listeners[port] = made
    return listeners[port]


def split(body: bytes) -> list[bytes]:
    fields = []
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        fields.append(body[at + 4 : at + 4 + length])
        at += 4 + length
    return fields


# --- the loop ----------------------------------------------------------------------------------------------


def hide_from_others() -> None:
    """Non-dumpable: no ptrace, no /proc/1/{mem,environ,fd} for the processes of the same user (prctl(2))."""
    try:
        import _ctypes

        library = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # the stub forgets None, the program itself
        result = _ctypes.call_function(_ctypes.dlsym(library, "prctl"), (PR_SET_DUMPABLE, 0, 0, 0, 0))
    except (ImportError, AttributeError):
        import ctypes

        result = ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if result != 0:
        raise SystemExit("prctl(PR_SET_DUMPABLE) failed")


def filter_calls(directory: str) -> None:
    """Takes on the filter for this processor, beside the engine's, for all that is started from now on (seccomp(2))."""
    path = f"{directory}/{os.uname().machine}.filter"
    if not os.path.exists(path):
        return
    import ctypes

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    with open(path, "rb") as file:
        code = file.read()
    held = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.addressof(held))
    if ctypes.CDLL(None).prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0) != 0:
        raise SystemExit("the filter of system calls could not be set")


def set_limits(options: dict[str, str]) -> None:
    for name, constant in (
        ("processes", resource.RLIMIT_NPROC),
        ("data_bytes", resource.RLIMIT_DATA),
        ("file_bytes", resource.RLIMIT_FSIZE),
        ("open_files", resource.RLIMIT_NOFILE),
        ("core_bytes", resource.RLIMIT_CORE),
    ):
        if name in options:
            hard = resource.getrlimit(constant)[1]
            wanted = int(options[name])
            value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(constant, (value, value))
    if "cpus" in options:
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[: max(1, int(options["cpus"]))])


def listener_at(address: str) -> _socket.socket:
    if address.isdigit():
        os.set_inheritable(int(address), False)
        return _socket.socket(fileno=int(address))
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if os.path.exists(address):
        os.unlink(address)
    listener.bind(address)
    os.chmod(address, 0o660)  # for a relay, which is of the same group
    listener.listen(SOCKET_BACKLOG)
    return listener


def listen(listener: _socket.socket) -> None:
    fd = listener.fileno()
    listener.setblocking(False)

    def accept(events: int) -> None:
        while True:
            try:
                Connection(listener._accept()[0])  # type: ignore[attr-defined]  # what socket.accept wraps
            except OSError:
                return

    watch(fd, select.EPOLLIN, accept)


def watch_children() -> None:
    for number in DEFAULT_SIGNALS:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
    _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def child_changed(events: int) -> None:
        os.read(reader, 4096)
        reap()

    watch(reader, select.EPOLLIN, child_changed)


def go_on_killing() -> None:
    for job in list(killing):
        if not kill_pass(job.tag):
            killing.remove(job)
            job.killed()


def take_limits(options: dict[str, str]) -> None:
    global disk, ends_at
    set_limits(options)
    if "disk_bytes" in options:
        disk = Disk(os.environ["HOME"], int(options["disk_bytes"]), system="disk_system" in options)
    if "lifetime_s" in options:
        ends_at = began_at + float(options["lifetime_s"])


def wait_s(now: float, used: float, idle_s: float) -> float:
    waits = [KILL_INTERVAL_S] if killing else []
    if disk is not None and disk.due < NEVER:
        waits.append(disk.due - now)
    if ends_at:
        waits.append(ends_at - now)
    if idle_s and not connections and not jobs:
        waits.append(used + idle_s - now)
    return max(0.0, min(waits)) if waits else -1


def serve(idle_s: float) -> None:
    used = time.monotonic()
    while True:
        for fd, events in epoll.poll(wait_s(time.monotonic(), used, idle_s)):
            function = on_ready.get(fd)
            if function is not None:
                function(events)
        go_on_killing()
        now = time.monotonic()
        if disk is not None and now >= disk.due:
            disk.look(now)
        if connections or jobs:
            used = now
        elif idle_s and now >= used + idle_s:
            os._exit(0)
        if ends_at and now >= ends_at:
            os._exit(0)


def main() -> None:
    global devnull, oom_score, SHELL
    options = dict(argument.split("=", 1) for argument in sys.argv[2:])
    try:
        oom_score = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        oom_score = -1
    hide_from_others()
    if "filters" in options:
        filter_calls(options["filters"])
    SHELL = options.get("shell", "").encode() or SHELL
    devnull = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    open_counters()
    take_limits(options)
    watch_children()
    listen(listener_at(sys.argv[1]))
    serve(float(options.get("idle_s", 0)))


if __name__ == "__main__":
    main()
