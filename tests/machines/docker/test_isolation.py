"""What a command in a container tries, and does not get."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitmachine import DockerMachine
from tests.support.docker_engine import IMAGE, DockerEngine

_SYSCALL = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); "

CASES = {
    "a capability": "grep -q 'Cap\\(Eff\\|Prm\\|Bnd\\|Amb\\|Inh\\):.*[1-9a-f]' /proc/self/status",
    "new privileges": "grep -q 'NoNewPrivs:.*0' /proc/self/status",
    "root by su": "su -c true </dev/null",
    "a mount": "mount -t tmpfs none /mnt || mkdir -p m && mount --bind / m",
    "a user namespace": "unshare -Ur true",
    "a mount namespace": "unshare -m true",
    "a network namespace": "unshare -n true",
    "the first process's memory": "head -c 1 /proc/1/mem",
    "the first process's environment": "cat /proc/1/environ",
    "the first process's descriptors": "ls /proc/1/fd/0",
    "the end of the first process": "kill -9 1; sleep 0.2; [ ! -e /proc/1/stat ]",
    "tracing the first process": f'python3 -c "{_SYSCALL}exit(libc.ptrace(16, 1, 0, 0) != 0)"',
    "the relay's end": "for p in /proc/[0-9]*; do "
    "grep -qzs relay.py $p/cmdline && kill -9 ${p#/proc/} && exit 0; done; exit 1",
    "the agent's code": "echo >/home/.gitmachine/agent.py",
    "the relay's code": "mv /home/.gitmachine/relay.py /tmp/",
    "the agent's socket away": "rm -f /home/.gitmachine/run/agent.sock && [ ! -e /home/.gitmachine/run/agent.sock ]",
    "another socket in its place": "mv /home/.gitmachine/run /home/.gitmachine/run2",
    "the home of the home": "mv /home/.gitmachine /home/x || touch /home/x",
    "a device": "mknod d b 8 0 || mknod /tmp/d c 1 1",
    "the host's disk": "ls /dev/sda /dev/vda /dev/nvme0n1 || dd if=/dev/mem count=1",
    "the host's kernel settings": "echo x >/proc/sys/kernel/core_pattern",
    "the host's kernel log": "dmesg || cat /dev/kmsg",
    "the host's trigger": "echo b >/proc/sysrq-trigger",
    "the host's memory map": "head -c 1 /proc/kcore | grep -q . || grep -q . /proc/keys",
    "its own control group": "mkdir /sys/fs/cgroup/memory/x || echo 1 >/sys/fs/cgroup/memory/memory.limit_in_bytes"
    " || mkdir /sys/fs/cgroup/x",
    "the system's files": "touch /usr/bin/mine || touch /etc/mine || echo >>/etc/passwd",
    "the shadow file": "cat /etc/shadow",
    "an engine's socket": "ls /run/docker.sock /var/run/docker.sock /run/podman/podman.sock /run/containerd",
    "any socket of the host": "find / -xdev -type s ! -path '/home/.gitmachine/*' 2>/dev/null | grep .",
    "the loopback of the host": "python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 2)\"",
    "the metadata service": "python3 -c \"import socket; socket.create_connection(('169.254.169.254', 80), 2)\"",
    "a name": "python3 -c \"import socket; socket.getaddrinfo('example.invalid', 80)\" || getent hosts example.invalid",
    "an interface": "cut -d: -f1 -s /proc/net/dev | grep -v '^ *lo$'",
    "a raw socket": 'python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"',
    "a packet socket": 'python3 -c "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"',
    "the session's keyring": f'python3 -c "{_SYSCALL}exit(libc.syscall(250, 0, -3, 0) < 0)"',
    "a kernel module": f"python3 -c \"{_SYSCALL}exit(libc.syscall(313, 0, b'', 0) != 0)\"",
    "the clock": "date -s 2001-01-01",
    "the host's name": "hostname changed",
    "setuid root": "cp /bin/sh s && chmod u+s s && chown 0 s",
    "the host's processes": "ls -d /proc/[0-9]* | wc -l | grep -q '[0-9][0-9][0-9]'",
    "a secret of the host": "env | grep -q GITMACHINE_ESCAPE || grep -rqs of-the-host /proc/[0-9]*/environ",
}


@pytest.fixture(scope="module")
def host_secret() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GITMACHINE_ESCAPE", "of-the-host")
        yield


async def test_no_way_out_is_found(host_secret: None, docker: DockerEngine, session_dir: Path) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    machine = DockerMachine(IMAGE, pull="never")
    before = _host()
    try:
        await machine.start()
        succeeded = []
        for name, attempt in CASES.items():
            result = await machine.execute(f"( {attempt.replace('{port}', str(port))} ) </dev/null >/dev/null 2>&1")
            if result.exit_code == 0:
                succeeded.append(name)
        assert succeeded == []
        assert (await machine.execute("echo well")).stdout == "well\n"
    finally:
        await machine.stop()
        server.close()
        await server.wait_closed()
    assert _host() == before


def _host() -> dict[str, object]:
    """What an escape would have changed."""
    return {
        "core_pattern": Path("/proc/sys/kernel/core_pattern").read_text(),
        "hostname": os.uname().nodename,
        "passwd": Path("/etc/passwd").read_bytes(),
        "null": stat.S_ISCHR(os.stat("/dev/null").st_mode),
        "root": sorted(os.listdir("/")),
    }


async def test_links_out_of_the_home_lead_into_the_machine(docker: DockerEngine, session_dir: Path) -> None:
    (session_dir / "secret").write_text("of the host")
    machine = DockerMachine(IMAGE, pull="never")
    try:
        await machine.start()
        await machine.execute(f"ln -s {session_dir}/secret link; ln -s / root; ln -s /proc/1/root/etc/shadow shadow")
        for path in ("link", f"root{session_dir}/secret", "shadow", f"../../../../../..{session_dir}/secret"):
            with pytest.raises(OSError):
                await machine.read_file(path)
        with pytest.raises(OSError):
            await machine.write_file("root/etc/mine", "x")
    finally:
        await machine.stop()
        (session_dir / "secret").unlink()
