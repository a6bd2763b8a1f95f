"""What code in a machine tries against the host: one table, for every machine that shares the host's kernel.

This file runs inside the machine, whole, on its own Python; the test appends the attack's name and `given`, what it
knows of the host (see `host_state.host`). An attack yields what it got: anything true is an escape, an exception or
something false is a failure to escape.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

Given = dict[str, Any]
Try = Callable[[], object]

X86 = os.uname().machine == "x86_64"
HOME = os.path.expanduser("~")
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(4096)


def written(path: str, data: bytes = b"x") -> bool:
    with open(path, "r+b") as file:
        file.write(data)
        file.flush()
    return True


def reached(family: int, address: Any, seconds: float = 3) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(seconds)
        one.connect(address)
    return True


def did(function: Callable[..., object], *arguments: Any) -> bool:
    function(*arguments)
    return True


def opened(path: str) -> bool:
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    return True


def succeeds(*numbers_and_arguments: Any) -> bool:
    """A system call by its two numbers, x86-64's and the others', and its arguments."""
    x86, other, *arguments = numbers_and_arguments
    return bool(libc.syscall(x86 if X86 else other, *arguments) >= 0)


# --- files -------------------------------------------------------------------------------------------------


def host_secret_by_path(given: Given) -> Iterator[Try]:
    yield lambda: read(given["secret"])
    yield lambda: read("/proc/self/root" + given["secret"])
    yield lambda: read("/proc/self/cwd/" + "../" * 20 + given["secret"])


def host_shadow(given: Given) -> Iterator[Try]:
    yield lambda: b":$" in read("/etc/shadow")
    yield lambda: given["hostname"] and read("/etc/hostname").strip().decode() == given["hostname"]


def host_homes_and_keys(given: Given) -> Iterator[Try]:
    for path in ("/root/.ssh", f"{given['home']}/.ssh", f"{given['home']}/.netrc", f"{given['home']}/.gitconfig"):
        yield lambda path=path: os.listdir(path) if os.path.isdir(path) else read(path)  # type: ignore[misc]


def host_state_directory(given: Given) -> Iterator[Try]:
    yield lambda: os.listdir(given["state"])


def parents_of_the_checkout(given: Given) -> Iterator[Try]:
    for up in range(1, 12):
        where = os.path.join(HOME, "../" * up)
        yield lambda where=where: given["token"] in " ".join(os.listdir(where))  # type: ignore[misc]
        yield lambda where=where: read(where + "machine.json")  # type: ignore[misc]


def system_files(given: Given) -> Iterator[Try]:
    yield lambda: bool(os.open("/usr/bin/planted", os.O_CREAT | os.O_WRONLY))
    yield lambda: bool(os.open("/planted", os.O_CREAT | os.O_WRONLY))
    for name in ("passwd", "hosts", "ld.so.preload"):
        yield lambda name=name: given["etc_is_the_hosts"] and written(f"/etc/{name}")  # type: ignore[misc]


def symlink_to_the_host(given: Given) -> Iterator[Try]:
    link = os.path.join(HOME, "link")
    with suppress(FileExistsError):
        os.symlink(given["secret"], link)
    yield lambda: read(link)
    yield lambda: os.listdir(os.path.dirname(os.readlink(link))) if given["token"] in str(os.listdir("/tmp")) else None


def hard_link_to_the_host(given: Given) -> Iterator[Try]:
    for path in (given["secret"], "/usr/bin/env"):
        yield lambda path=path: did(os.link, path, os.path.join(HOME, "hard"))  # type: ignore[misc]


def setuid_file_for_the_host(given: Given) -> Iterator[Try]:
    path = os.path.join(HOME, "suid")
    open(path, "w").close()
    os.chmod(path, 0o6755)
    yield lambda: did(os.chown, path, 0, 0) and os.stat(path).st_uid == 0 and given["root_is_the_hosts"]


def device_file(given: Given) -> Iterator[Try]:
    for kind, numbers in ((stat.S_IFCHR, (1, 1)), (stat.S_IFBLK, (8, 0)), (stat.S_IFBLK, (254, 0))):
        path = os.path.join(HOME, f"device-{kind}-{numbers[0]}")
        made = os.makedev(*numbers)
        yield lambda path=path, kind=kind, made=made: did(os.mknod, path, 0o600 | kind, made) and opened(path)  # type: ignore[misc]


def file_by_handle(given: Given) -> Iterator[Try]:
    handle = ctypes.create_string_buffer(b"\x08\0\0\0\1\0\0\0\2\0\0\0\0\0\0\0")
    yield lambda: succeeds(304, 265, os.open("/usr", os.O_RDONLY), handle, 0)


# --- the kernel --------------------------------------------------------------------------------------------


def kernel_settings(given: Given) -> Iterator[Try]:
    for name in ("kernel/core_pattern", "kernel/modprobe", "vm/overcommit_memory", "kernel/hostname"):
        yield lambda name=name: written(f"/proc/sys/{name}", b"|/planted")  # type: ignore[misc]
    yield lambda: written("/proc/sysrq-trigger", b"h")


def control_groups(given: Given) -> Iterator[Try]:
    for top, _, names in os.walk("/sys/fs/cgroup"):
        for name in {"release_agent", "cgroup.procs", "memory.max", "devices.allow"}.intersection(names):
            yield lambda path=f"{top}/{name}": written(path, b"0")  # type: ignore[misc]


def host_devices(given: Given) -> Iterator[Try]:
    names = [
        "mem", "kmem", "port", "sda", "vda", "nvme0n1", "loop-control", "loop0", "kvm", "fuse", "net/tun", "kmsg",
        "vsock", "vhost-net", "uinput",
    ]  # fmt: skip
    for name in names:
        yield lambda name=name: opened(f"/dev/{name}")  # type: ignore[misc]


def mounts(given: Given) -> Iterator[Try]:
    yield lambda: libc.mount(b"x", b"/tmp", b"tmpfs", 0, None) == 0
    yield lambda: libc.mount(b"/", b"/tmp", None, 4096, None) == 0
    yield lambda: libc.mount(b"none", b"/", None, 32 | 4096, None) == 0
    yield lambda: libc.umount2(b"/proc/sys", 2) == 0
    yield lambda: libc.syscall(155 if X86 else 41, b"/tmp", b"/tmp") == 0


def mounts_by_the_new_calls(given: Given) -> Iterator[Try]:
    for number in (428, 429, 430, 432, 433, 442):
        yield lambda number=number: succeeds(number, number, -100, b"/", 1, 0, 0)  # type: ignore[misc]


def user_namespace(given: Given) -> Iterator[Try]:
    for flags in (0x10000000, 0x10020000, 0x50000000):
        yield lambda flags=flags: libc.unshare(flags) == 0  # type: ignore[misc]


def other_namespaces(given: Given) -> Iterator[Try]:
    for flags in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x20000000, 0x40000000):
        yield lambda flags=flags: libc.unshare(flags) == 0  # type: ignore[misc]
    yield lambda: succeeds(308, 268, os.open("/proc/1/ns/net", os.O_RDONLY), 0)


def user_namespace_by_clone(given: Given) -> Iterator[Try]:
    yield lambda: succeeds(56, 220, 0x10000011, 0, 0, 0, 0)
    yield lambda: succeeds(435, 435, ctypes.create_string_buffer((0x10000000).to_bytes(8, "little") + bytes(80)), 88)


def user_namespace_by_program(given: Given) -> Iterator[Try]:
    for flags in ("-Ur", "-n", "-m", "-pf", "-C"):
        yield lambda flags=flags: subprocess.run(["unshare", flags, "true"], capture_output=True).returncode == 0  # type: ignore[misc]


def chroot(given: Given) -> Iterator[Try]:
    yield lambda: did(os.chroot, "/usr")


def rights(given: Given) -> Iterator[Try]:
    status = read("/proc/self/status").decode()
    for line in ("CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        yield lambda line=line: line not in status  # type: ignore[misc]
    yield lambda: os.getuid() == 0 or did(os.setuid, 0)


def kernel_interfaces(given: Given) -> Iterator[Try]:
    calls = {
        "bpf": (321, 280),
        "userfaultfd": (323, 282),
        "perf": (298, 241),
        "kexec": (246, 104),
        "modules": (175, 105),
    }
    for numbers in calls.values():
        yield lambda numbers=numbers: succeeds(*numbers, 0, 0, 0, 0, 0)  # type: ignore[misc]
    yield lambda: succeeds(425, 425, 4, ctypes.create_string_buffer(120))


def keyring(given: Given) -> Iterator[Try]:
    yield lambda: succeeds(250, 219, 11, given["key"], ctypes.create_string_buffer(64), 64, 0)
    yield lambda: b"gm-test" in read("/proc/keys")


def typed_into_a_terminal(given: Given) -> Iterator[Try]:
    yield lambda: fcntl.ioctl(pty.openpty()[1], 0x5412, b"x") is not None
    yield lambda: opened("/dev/tty")
    yield lambda: given["console_is_the_hosts"] and written("/dev/console")


def clock_and_log(given: Given) -> Iterator[Try]:
    yield lambda: did(time.clock_settime, time.CLOCK_REALTIME, time.time())
    yield lambda: libc.klogctl(3, ctypes.create_string_buffer(4096), 4096) > 0
    yield lambda: subprocess.run(["hostname", "planted"], capture_output=True).returncode == 0


# --- processes ---------------------------------------------------------------------------------------------


def host_processes(given: Given) -> Iterator[Try]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        for file in ("cmdline", "environ"):
            yield lambda path=f"/proc/{name}/{file}": given["mark"].encode() in read(path)  # type: ignore[misc]


def host_process_by_number(given: Given) -> Iterator[Try]:
    yield lambda: b"sleep\x001000" in read(f"/proc/{given['pid']}/cmdline")
    yield lambda: did(os.kill, given["pid"], 9)


def first_process(given: Given) -> Iterator[Try]:
    yield lambda: libc.ptrace(16, 1, 0, 0) == 0
    for name in ("mem", "environ", "root/etc/shadow", "fd/3", "maps"):
        yield lambda name=name: given["first_is_ours"] and read(f"/proc/1/{name}")  # type: ignore[misc]
    yield lambda: given["first_is_ours"] and succeeds(438, 438, os.pidfd_open(1), 3, 0)


def what_carries_commands(given: Given) -> Iterator[Try]:
    """The programs of ours in the machine, where they are files: theirs is the way to the host."""
    where = given["programs"]
    if not where:
        return
    for name in ("agent.py", "relay.py"):
        yield lambda name=name: written(f"{where}/{name}")  # type: ignore[misc]
        yield lambda name=name: did(os.rename, f"{where}/{name}", f"{HOME}/{name}")  # type: ignore[misc]
    yield lambda: did(os.unlink, f"{where}/run/agent.sock")
    yield lambda: did(os.rename, f"{where}/run", f"{where}/elsewhere")
    yield lambda: did(os.rename, where, f"{os.path.dirname(where)}/elsewhere")
    yield lambda: opened(f"{os.path.dirname(where)}/mine")


def processes_of_ours(given: Given) -> Iterator[Try]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        if b".gitmachine/" in read(f"/proc/{name}/cmdline"):
            pid = int(name)
            for file in ("mem", "environ", "fd/0"):
                yield lambda path=f"/proc/{name}/{file}": read(path)  # type: ignore[misc]
            yield lambda pid=pid: libc.ptrace(16, pid, 0, 0) == 0  # type: ignore[misc]
            if pid != 1:
                yield lambda pid=pid: did(os.kill, pid, 9)  # type: ignore[misc]
    yield lambda: os.kill(1, 9)
    yield lambda: not os.path.exists("/proc/1/stat")


def root_by_programs(given: Given) -> Iterator[Try]:
    def answer(*argv: str) -> bytes:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True).stdout.strip()

    yield lambda: answer("su", "-c", "id -u") == b"0"
    yield lambda: answer("sudo", "-n", "id", "-u") == b"0"
    yield lambda: answer("pkexec", "id", "-u") == b"0"


def sockets_in_sight(given: Given) -> Iterator[Try]:
    for top, _, names in os.walk("/"):
        if not top.startswith(("/proc", "/sys", "/usr", given["programs"] or "/proc")):
            for path in (os.path.join(top, name) for name in names):
                with suppress(OSError):
                    if stat.S_ISSOCK(os.lstat(path).st_mode):
                        yield lambda path=path: reached(socket.AF_UNIX, path)  # type: ignore[misc]


def shared_memory(given: Given) -> Iterator[Try]:
    for key in given["shared_memory"]:
        yield lambda key=key: libc.shmget(key, 0, 0o600) >= 0  # type: ignore[misc]


def inherited_descriptors(given: Given) -> Iterator[Try]:
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            yield lambda target=target: target.startswith((given["state"], "socket:"))  # type: ignore[misc]


# --- the network -------------------------------------------------------------------------------------------


def host_loopback(given: Given) -> Iterator[Try]:
    yield lambda: reached(socket.AF_INET, ("127.0.0.1", given["port"]))
    yield lambda: reached(socket.AF_INET, ("127.9.9.9", given["any_port"]))


def host_loopback_over_ipv6(given: Given) -> Iterator[Try]:
    yield lambda: reached(socket.AF_INET6, ("::1", given["port6"]))
    yield lambda: reached(socket.AF_INET6, ("::ffff:127.0.0.1", given["port"]))


def host_by_its_own_addresses(given: Given) -> Iterator[Try]:
    for address in given["addresses"]:
        yield lambda address=address: reached(socket.AF_INET, (address, given["any_port"]))  # type: ignore[misc]


def unix_socket_of_the_host(given: Given) -> Iterator[Try]:
    yield lambda: reached(socket.AF_UNIX, given["socket"])


def abstract_socket_of_the_host(given: Given) -> Iterator[Try]:
    yield lambda: reached(socket.AF_UNIX, "\0" + given["abstract"])


def sockets_of_engines(given: Given) -> Iterator[Try]:
    names = (
        "docker.sock", "podman/podman.sock", "containerd/containerd.sock", "dbus/system_bus_socket", "systemd/private",
    )  # fmt: skip
    for path in (*given["engine_sockets"], *(f"/run/{name}" for name in names), "/var/run/docker.sock"):
        yield lambda path=path: reached(socket.AF_UNIX, path)  # type: ignore[misc]


def metadata_services(given: Given) -> Iterator[Try]:
    for host in ("169.254.169.254", "169.254.170.2", "100.100.100.200"):
        yield lambda host=host: reached(socket.AF_INET, (host, 80), 1)  # type: ignore[misc]
    yield lambda: reached(socket.AF_INET6, ("fd00:ec2::254", 80), 1)


def other_networks(given: Given) -> Iterator[Try]:
    yield lambda: read("/proc/net/route").splitlines()[1:]
    for _, name in socket.if_nameindex():
        path = f"/proc/sys/net/ipv4/conf/{name}/forwarding"
        yield lambda path=path: written(path, b"1")  # type: ignore[misc]
    yield lambda: subprocess.run(["ip", "link", "add", "x", "type", "veth"], capture_output=True).returncode == 0


def other_socket_families(given: Given) -> Iterator[Try]:
    for family, kind in ((40, 1), (17, 3), (38, 5), (31, 1), (15, 3), (socket.AF_INET, 3), (16, 3)):
        protocol = {socket.AF_INET: 1, 16: 9}.get(family, 0)  # ICMP; the audit's netlink
        if family == 16:
            yield lambda: did(socket.socket(16, 3, 9).bind, (0, 1))
        else:
            yield lambda f=family, k=kind, p=protocol: socket.socket(f, k, p) is not None  # type: ignore[misc]


def name_lookup(given: Given) -> Iterator[Try]:
    yield lambda: socket.getaddrinfo("gitmachine.invalid", 80)
    yield lambda: reached(socket.AF_INET, ("127.0.0.53", 53), 1)
    yield lambda: reached(socket.AF_INET, ("8.8.8.8", 53), 1) if given["alone"] else None


# --- past a list of allowed hosts --------------------------------------------------------------------------


def ask(line: str, *headers: str) -> bool:
    """Whether the machine's proxy takes a request."""
    with socket.create_connection(("127.0.0.1", 3128), 5) as one:
        one.sendall("\r\n".join([line, *headers, "", ""]).encode("latin-1"))
        status = one.recv(200).split(b" ")[1]
    print("answered", status)
    return status in (b"200", b"302")


def list_past_loopback(given: Given) -> Iterator[Try]:
    for host in (
        "127.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "localhost",
        "[::]",
    ):
        yield lambda host=host: ask(f"CONNECT {host}:{given['port']} HTTP/1.1")  # type: ignore[misc]
        yield lambda host=host: ask(f"GET http://{host}:{given['port']}/ HTTP/1.1")  # type: ignore[misc]


def list_past_metadata(given: Given) -> Iterator[Try]:
    for host in ("169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe"):
        yield lambda host=host: ask(f"GET http://{host}/latest HTTP/1.1")  # type: ignore[misc]


def list_past_names(given: Given) -> Iterator[Try]:
    for host in (
        "evil.test",
        "allowed.test.evil.test",
        "notallowed.test",
        "allowed.test%00.evil.test",
        "allowed.test@evil.test",
    ):
        yield lambda host=host: ask(f"CONNECT {host}:443 HTTP/1.1")  # type: ignore[misc]


def list_past_host_field(given: Given) -> Iterator[Try]:
    yield lambda: ask("GET http://allowed.test/ HTTP/1.1", f"Host: 127.0.0.1:{given['port']}")
    yield lambda: ask(f"GET http://allowed.test@127.0.0.1:{given['port']}/ HTTP/1.1")
    yield lambda: ask("GET / HTTP/1.1", f"Host: 127.0.0.1:{given['port']}")


def list_past_line_breaks(given: Given) -> Iterator[Try]:
    yield lambda: ask(f"CONNECT allowed.test:80\nCONNECT 127.0.0.1:{given['port']} HTTP/1.1")
    yield lambda: ask("CONNECT allowed.test:80 HTTP/1.1", f"A: b\r\n\r\nCONNECT 127.0.0.1:{given['port']} HTTP/1.1")


ATTACKS = {
    name: attack
    for name, attack in list(globals().items())
    if callable(attack) and getattr(attack, "__annotations__", {}).get("return") == "Iterator[Try]"
}
PAST_THE_LIST = {name: attack for name, attack in ATTACKS.items() if name.startswith("list_past")}


def main(name: str, given: Given) -> None:
    for attempt in ATTACKS[name](given):
        try:
            got = attempt()
        except (OSError, AttributeError, ValueError, OverflowError) as error:
            print("kept out:", type(error).__name__, str(error)[:80])
        else:
            print("ESCAPED:" if got else "kept out:", repr(got)[:200])
    print("tried", name)
    sys.stdout.flush()
