"""What is particular to a local machine's walls. What code in it tries against them: tests/machines/attacks.py."""

from __future__ import annotations

import secrets
import socket
import stat
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
