"""The relay: brings many operations over one stream to the agent of a container, and their output back.

A pipe cannot be passed over a network as it can over a unix socket, so this process stands in for the host (see
../local/agent.py): it makes the pipes of a command, hands them to the agent, and copies what goes through them.
One relay serves one program on the host, over the standard streams of one `exec`; when they end so does it, and the
agent then does what it does when a host is gone. It runs as a user of its own, whom no command can signal.

One standalone file for the container's python3 (3.9 or later), run as `python3 -I -S relay.py SOCKET`. As
`relay.py SOCKET PORT` it carries the machine's connections instead: it has the agent listen on that port of 127.0.0.1
and tells of each connection as ACCEPTED; what comes from it is OUT and ENDED, what goes to it INPUT and END_INPUT.

Both directions carry frames `u32 operation, u8 kind, u32 length` and that many bytes. The host begins an operation
with OPEN (a byte of flags and the agent's request) and ends it with CLOSE. INPUT is answered with TAKEN, and OUT and
ERR with CREDIT, each counting bytes, so that neither side ever holds more than WINDOW_BYTES of one operation. FRAME is
the agent's own answer; the output that was written before the shell ended comes ahead of it, whatever the credit.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import itertools
import os
import resource
import select
import socket
import struct
import sys
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Ready = Callable[[int], object]

OPEN, INPUT, END_INPUT, KILL, CLOSE, CREDIT = 1, 2, 3, 4, 5, 6
OUT, ERR, FRAME, GONE, TAKEN, BROKEN, HELLO, ACCEPTED, ENDED = 11, 12, 13, 14, 15, 16, 17, 18, 19
WITH_PIPES, WITH_INPUT = 1, 2
HEADER = struct.Struct(">IBI")
WINDOW_BYTES = 1024 * 1024
PASSAGE_BYTES = 256 * 1024  # the window of a connection of the machine's
MAX_PASSAGES = 600  # above what the host serves, whose answer then says that there are too many
CHUNK_BYTES = 64 * 1024
AGENT_FRAME_BYTES = 5
READY_LIMIT_S = 15.0
AGENT_LIMIT_S = 20.0

epoll = select.epoll()
on_ready: dict[int, Ready] = {}
operations: dict[int, Flow] = {}


def watch(fd: int, events: int, function: Ready) -> None:
    on_ready[fd] = function
    epoll.register(fd, events)


def forget(fd: int) -> None:
    if on_ready.pop(fd, None) is not None:
        epoll.unregister(fd)


def agent(path: str) -> socket.socket:
    """A connection to process 1, and to nobody who took its place in the directory."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(AGENT_LIMIT_S)
    try:
        connection.connect(path)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("iII", credentials)[0] != 1:
            raise OSError("something else listens in the place of the machine's agent")
    except BaseException:
        connection.close()
        raise
    return connection


class Output:
    """Our standard output: what does not fit waits here."""

    def __init__(self) -> None:
        self.waiting = bytearray()
        os.set_blocking(1, False)

    def send(self, operation: int, kind: int, payload: bytes = b"") -> None:
        idle = not self.waiting
        self.waiting += HEADER.pack(operation, kind, len(payload)) + payload
        if idle:
            self.write()
            if self.waiting:
                watch(1, select.EPOLLOUT, self.ready)

    def ready(self, events: int) -> None:
        self.write()
        if not self.waiting:
            forget(1)

    def write(self) -> None:
        try:
            while self.waiting:
                del self.waiting[: os.write(1, self.waiting[:CHUNK_BYTES])]
        except BlockingIOError:
            pass


class Flow:
    """What is read in here goes to the host, as far as it has room for it; what comes from the host is written."""

    def __init__(self, number: int, window_bytes: int) -> None:
        self.number = number
        self.readers: dict[int, int] = {}  # descriptor -> OUT or ERR
        self.reading = False
        self.credit = window_bytes
        self.writer = -1
        self.pending = bytearray()
        self.input_ends = False
        self.closing = False

    def read_on(self) -> None:
        if not self.reading and self.credit > 0:
            self.reading = True
            for fd, kind in self.readers.items():
                watch(fd, select.EPOLLIN, self.reader(fd, kind))

    def stop_reading(self) -> None:
        if self.reading:
            self.reading = False
            for fd in self.readers:
                forget(fd)

    def reader(self, fd: int, kind: int) -> Ready:
        return lambda events: self.on_output(fd, kind)

    def on_output(self, fd: int, kind: int) -> None:
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            forget(fd)
            del self.readers[fd]
            os.close(fd)
            self.on_end()
            return
        self.credit -= len(data)
        output.send(self.number, kind, data)
        if self.credit <= 0:
            self.stop_reading()

    def on_end(self) -> None:
        """Nothing more can be read from one of the readers."""

    def take_input(self, data: bytes) -> None:
        if self.writer < 0:
            return
        if not self.pending:
            watch(self.writer, select.EPOLLOUT, self.write_input)
        self.pending += data

    def end_input(self) -> None:
        self.input_ends = True
        if not self.pending:
            self.close_input()

    def write_input(self, events: int) -> None:
        try:
            written = os.write(self.writer, self.pending[:CHUNK_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self.close_input()
            output.send(self.number, BROKEN)
            return
        del self.pending[:written]
        output.send(self.number, TAKEN, written.to_bytes(4, "big"))
        if not self.pending:
            forget(self.writer)
            if self.input_ends:
                self.close_input()

    def close_input(self) -> None:
        if self.writer >= 0:
            forget(self.writer)
            os.close(self.writer)
            self.writer = -1
            self.pending.clear()

    def kill(self) -> None:
        """The host wants an end of what it has started."""

    def close(self) -> None:
        """The host has no use for it any more."""
        del operations[self.number]
        self.discard()

    def discard(self) -> None:
        self.stop_reading()
        self.close_input()
        for fd in self.readers:
            os.close(fd)
        self.readers.clear()


class Operation(Flow):
    """One connection to the agent, with the pipes of its command."""

    def __init__(self, number: int, path: str, flags: int, request: bytes) -> None:
        super().__init__(number, WINDOW_BYTES)
        self.connection = agent(path)
        self.received = b""
        try:
            self.hand_over(flags, request)
        except BaseException:
            self.discard()
            raise
        self.connection.setblocking(False)
        watch(self.connection.fileno(), select.EPOLLIN, self.on_frames)
        self.read_on()

    def hand_over(self, flags: int, request: bytes) -> None:
        given = []
        try:
            for kind in (OUT, ERR) if flags & WITH_PIPES else ():
                reader, writer = os.pipe()
                self.readers[reader] = kind
                given.append(writer)
                os.fchmod(writer, 0o666)  # another user's, who could not open /dev/stdout otherwise
                os.set_blocking(reader, False)
            rights = [*given, *self.readers]
            if flags & WITH_INPUT:
                reader, self.writer = os.pipe()
                given.append(reader)
                rights.append(reader)
                os.fchmod(reader, 0o666)
                os.set_blocking(self.writer, False)
            sent = self.connection.sendmsg(
                [request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", rights))] if rights else []
            )
            self.connection.sendall(request[sent:])
        finally:
            for fd in given:
                os.close(fd)

    def on_frames(self, events: int) -> None:
        try:
            data = self.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.received += data
        while len(self.received) >= AGENT_FRAME_BYTES:
            frame, self.received = self.received[:AGENT_FRAME_BYTES], self.received[AGENT_FRAME_BYTES:]
            if frame[:1] == b"E":
                self.stop_reading()
                self.send_what_is_left()
            output.send(self.number, FRAME, frame)
        if not data:
            forget(self.connection.fileno())
            output.send(self.number, GONE)

    def send_what_is_left(self) -> None:
        """What was in the pipes when the shell ended, and not what its children go on to write."""
        for fd, kind in self.readers.items():
            left = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0]
            try:
                while left > 0:
                    data = os.read(fd, left)
                    if not data:
                        break
                    left -= len(data)
                    output.send(self.number, kind, data)
            except BlockingIOError:
                pass

    def kill(self) -> None:
        with contextlib.suppress(OSError):  # the agent has hung up, which is told as GONE
            self.connection.send(b"k")

    def discard(self) -> None:
        # First the pipes, then the connection, whose end tells the agent to empty the pipes from then on.
        super().discard()
        forget(self.connection.fileno())
        self.connection.close()


class Passage(Flow):
    """A connection that a program of the machine made to the port."""

    def __init__(self, number: int, connection: socket.socket) -> None:
        super().__init__(number, PASSAGE_BYTES)
        self.socket = connection
        connection.setblocking(False)
        self.readers[os.dup(connection.fileno())] = OUT
        self.writer = os.dup(connection.fileno())
        self.read_on()

    def on_end(self) -> None:
        output.send(self.number, ENDED)

    def close_input(self) -> None:
        if self.writer >= 0:
            with contextlib.suppress(OSError):  # not connected any more
                self.socket.shutdown(socket.SHUT_WR)
        super().close_input()
        if self.closing:
            self.finish()

    def close(self) -> None:
        """What it was sent is written first."""
        self.closing = True
        self.stop_reading()
        self.end_input()

    def finish(self) -> None:
        self.closing = False
        super().close()
        self.socket.close()


class Input:
    """Our standard input, as frames."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.received = bytearray()

    def ready(self, events: int) -> None:
        data = os.read(0, CHUNK_BYTES)
        if not data:
            os._exit(0)
        self.received += data
        while len(self.received) >= HEADER.size:
            number, kind, length = HEADER.unpack_from(self.received)
            if len(self.received) < HEADER.size + length:
                return
            payload = bytes(self.received[HEADER.size : HEADER.size + length])
            del self.received[: HEADER.size + length]
            self.take(number, kind, payload)

    def take(self, number: int, kind: int, payload: bytes) -> None:
        if kind == OPEN:
            try:
                operations[number] = Operation(number, self.path, payload[0], payload[1:])
            except OSError as error:
                output.send(number, GONE, str(error).encode())
            return
        operation = operations.get(number)
        if operation is None:
            return
        if kind == INPUT:
            operation.take_input(payload)
        elif kind == END_INPUT:
            operation.end_input()
        elif kind == KILL:
            operation.kill()
        elif kind == CREDIT:
            operation.credit += int.from_bytes(payload, "big")
            operation.read_on()
        elif kind == CLOSE:
            operation.close()


def wait_for_agent(path: str) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while True:
        try:
            agent(path).close()
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)
        else:
            return


def listener_of(path: str, port: bytes) -> socket.socket:
    """What the agent listens with on that port: the same for every relay, and never a command's."""
    body = b"".join(len(field).to_bytes(4, "big") + field for field in (b"listen", port))
    with agent(path) as connection:
        connection.sendall(len(body).to_bytes(4, "big") + body)
        answer, descriptors, _, _ = socket.recv_fds(connection, AGENT_FRAME_BYTES, 1)
    if not descriptors:
        raise OSError(int.from_bytes(answer[1:], "big"), "the machine's agent could not listen for connections")
    return socket.socket(fileno=descriptors[0])


def accept_from(listener: socket.socket) -> None:
    """Takes the machine's connections, each of which becomes an operation."""
    listener.setblocking(False)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    numbers = itertools.count(1)

    def ready(events: int) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if len(operations) >= MAX_PASSAGES:
            connection.close()
            return
        number = next(numbers)
        output.send(number, ACCEPTED)
        operations[number] = Passage(number, connection)

    watch(listener.fileno(), select.EPOLLIN, ready)


def main() -> None:
    path = sys.argv[1]
    wait_for_agent(path)
    # The agent has made its socket; from now on nobody can put another one in its place.
    os.chmod(os.path.dirname(path), 0o750)  # noqa: S103
    listener = listener_of(path, sys.argv[2].encode()) if len(sys.argv) > 2 else None
    output.send(0, HELLO)
    watch(0, select.EPOLLIN, Input(path).ready)
    if listener is not None:
        accept_from(listener)
    while True:
        for fd, events in epoll.poll():
            function = on_ready.get(fd)
            if function is not None:
                function(events)


output = Output()
main()
