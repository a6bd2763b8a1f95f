"""What a command in a local machine tries against the host, and does not get."""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitmachine.machines.local import LocalMachine, seccomp
from gitmachine.machines.local.user import machine_user
from gitmachine.types import ExecuteOptions


async def python(machine: LocalMachine, program: str) -> str:
    result = await machine.execute(
        "/usr/bin/python3 -", ExecuteOptions(stdin=program, timeout=30, max_output_bytes=None)
    )
    return result.stdout + result.stderr


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    value = secrets.token_hex(16)
    monkeypatch.setenv("GM_TEST_SECRET", value)
    return value


async def test_a_secret_of_the_host_process_is_nowhere_to_be_read(secret: str, machine: LocalMachine) -> None:
    result = await machine.execute("env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'")
    assert "HOME=/home/user" in result.stdout
    assert secret not in result.stdout
    assert "/proc/1/environ: Permission denied" in result.stderr


async def test_no_kernel_setting_can_be_written(machine: LocalMachine) -> None:
    result = await machine.execute(
        "find /proc/sys -type f -writable | head -3;"
        " echo x > /proc/sys/kernel/core_pattern; echo b > /proc/sysrq-trigger"
    )
    assert result.stdout == ""
    assert "core_pattern: Read-only file system" in result.stderr
    assert result.exit_code != 0


@pytest.fixture
def host_socket(session_dir: Path) -> Iterator[Path]:
    directory = session_dir / "host-socket"
    directory.mkdir(mode=0o755)
    path = directory / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()
        yield path
    path.unlink()
    directory.rmdir()


async def test_a_unix_socket_of_the_host_cannot_be_connected_to(host_socket: Path, machine: LocalMachine) -> None:
    said = await python(machine, f"import socket; socket.socket(socket.AF_UNIX).connect({str(host_socket)!r})")
    assert "FileNotFoundError" in said


async def test_an_abstract_socket_of_the_host_cannot_be_connected_to(machine: LocalMachine) -> None:
    name = "\0gm-" + secrets.token_hex(6)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        said = await python(machine, f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})")
    assert "ConnectionRefusedError" in said


async def test_the_hosts_loopback_is_out_of_reach(machine: LocalMachine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = await python(machine, f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)")
    assert "ConnectionRefusedError" in said
    interfaces = await machine.execute("cat /proc/net/dev | tail -n +3 | cut -d: -f1")
    assert interfaces.stdout.split() == ["lo"]


async def test_the_hosts_network_is_there_when_asked_for(state_dir: Path) -> None:
    del state_dir
    machine = LocalMachine(network="host")
    await machine.start()
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            said = await python(machine, f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)")
        assert said == ""
        assert machine.capabilities.network == "host"
    finally:
        await machine.stop()


@pytest.mark.parametrize("family", ["AF_VSOCK", "AF_PACKET", "AF_ALG", "AF_BLUETOOTH"])
async def test_other_socket_families_are_refused(machine: LocalMachine, family: str) -> None:
    said = await python(machine, f"import socket; socket.socket(socket.{family}, socket.SOCK_STREAM)")
    assert "Address family not supported" in said


_SYSCALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
result = libc.syscall({arguments})
print(result, ctypes.get_errno())
"""

_X86_64 = os.uname().machine == "x86_64"
_NUMBERS = {
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282), "bpf": (321, 280), "mount": (165, 40), "open_tree": (428, 428),
}  # fmt: skip


@pytest.mark.parametrize("name", list(_NUMBERS))
async def test_a_system_call_that_no_build_needs_is_refused(machine: LocalMachine, name: str) -> None:
    number = _NUMBERS[name][0 if _X86_64 else 1]
    said = await python(machine, _SYSCALL.format(arguments=f"{number}, 0, 0, 0, 0, 0"))
    assert said == "-1 1\n"


async def test_a_key_in_the_hosts_session_keyring_cannot_be_read(machine: LocalMachine) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    add_key, keyctl = (248, 250) if _X86_64 else (217, 219)
    key = libc.syscall(add_key, b"user", b"gm-test", b"secret", 6, -3)
    if key < 0:
        pytest.skip("this kernel keeps no keys")
    try:
        said = await python(machine, _SYSCALL.format(arguments=f"{keyctl}, 11, {key}, b'x' * 32, 32, 0"))
        keys = await machine.execute("cat /proc/keys")
        assert said == "-1 1\n"
        assert "gm-test" not in keys.stdout
    finally:
        libc.syscall(keyctl, 9, key, -3)


async def test_nothing_can_be_typed_into_a_terminal(machine: LocalMachine) -> None:
    said = await python(
        machine,
        "import fcntl, os, pty\nleader, follower = pty.openpty()\nfcntl.ioctl(follower, 0x5412, b'x')",
    )
    assert "Operation not permitted" in said


@pytest.mark.parametrize("flags", ["-Ur", "-n", "-m", "-p --fork", "-U --map-user=0"])
async def test_no_namespace_can_be_made_inside(machine: LocalMachine, flags: str) -> None:
    result = await machine.execute(f"unshare {flags} true")
    assert result.exit_code != 0
    assert "not permitted" in result.stderr or "No space left" in result.stderr


async def test_the_first_process_cannot_be_traced_signalled_or_read(machine: LocalMachine) -> None:
    said = await python(
        machine,
        "import ctypes, os, signal\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.ptrace(16, 1, 0, 0), ctypes.get_errno())\n"
        "for number in range(1, 65):\n"
        "    if number not in (32, 33): os.kill(1, number)\n"
        "for name in ('mem', 'environ', 'maps', 'fd/0', 'root/etc/passwd'):\n"
        "    try: open(f'/proc/1/{name}').read(); print('read', name)\n"
        "    except PermissionError: pass\n",
    )
    assert said == "-1 1\n"
    assert (await machine.execute("echo alive")).stdout == "alive\n"


async def test_killing_everything_from_inside_does_not_end_the_machine(machine: LocalMachine) -> None:
    result = await machine.execute("kill -9 -1; kill -STOP 1")
    assert (await machine.execute("echo alive")).stdout == "alive\n"
    assert result.exit_code in (0, 1)


async def test_only_usr_and_a_few_files_of_etc_are_seen(machine: LocalMachine) -> None:
    root = await machine.list_files("/")
    assert not {"root", "sys", "boot", "srv", "mnt", "opt"} & set(root)
    etc = await machine.execute("cat /etc/shadow /etc/hostname; ls /sys /root; cat /etc/passwd")
    assert etc.stdout.count("\n") == 2
    assert await machine.list_files("/home") == ["user"]


async def test_nothing_but_home_and_tmp_can_be_written(machine: LocalMachine) -> None:
    result = await machine.execute(
        "for d in / /etc /run /run/gm /run/gm/objects /run/gm/shadow /var /usr /home /proc /dev/pts; do "
        "touch $d/x 2>/dev/null && echo $d; done; touch ~/ok /tmp/ok /dev/shm/ok && echo done"
    )
    assert result.stdout == "done\n"


async def test_no_file_on_the_host_is_roots_or_can_be_reached_as_setuid(machine: LocalMachine, state_dir: Path) -> None:
    result = await machine.execute("cp /usr/bin/id ~/id && chmod 6755 ~/id && ~/id -u && chown 0:0 ~/id")
    assert result.stdout == "1000\n"
    assert result.exit_code != 0
    home = state_dir / "machines" / str(machine.id) / "home"
    found = (home / "id").stat()
    assert found.st_uid != 0
    assert found.st_gid == machine_user().gid
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


async def test_a_sandbox_never_runs_as_root(machine: LocalMachine) -> None:
    inside = await machine.execute("cat /proc/self/uid_map /proc/self/status")
    assert "NoNewPrivs:\t1" in inside.stdout
    assert "CapEff:\t0000000000000000" in inside.stdout
    assert "Seccomp:\t2" in inside.stdout
    assert machine._record is not None
    status = Path(f"/proc/{machine._record.init.pid}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert "0" not in uids


@pytest.mark.parametrize("machine_name", ["x86_64", "aarch64"])
def test_the_filter_is_a_program_for_both_processors(machine_name: str) -> None:
    program = seccomp.program(machine_name)
    assert len(program) % 8 == 0
    assert 0 < len(program) // 8 <= 4096
