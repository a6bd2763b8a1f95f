"""No case of the table succeeds, on any machine that shares the host's kernel, and the host is as it was.

A machine joins by a line in `MACHINES`.
"""

from __future__ import annotations

import inspect
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from gitmachine import DockerMachine, Limits, LocalMachine, Machine
from gitmachine.types import ExecuteOptions
from tests.machines import attacks
from tests.machines.host_state import Host, host, state
from tests.machines.shared import engine_for, own_state
from tests.support.docker_engine import IMAGE

MIB = 1024**2
LIMITS = Limits(memory_bytes=256 * MIB, processes=128, disk_bytes=64 * MIB, tmp_bytes=32 * MIB)


def local(network: list[str] | None) -> Machine:
    return LocalMachine(limits=LIMITS, network=network)


def container(network: list[str] | None) -> Machine:
    return DockerMachine(IMAGE, pull="never", limits=LIMITS, network=network)


MACHINES: dict[str, Callable[[list[str] | None], Machine]] = {"local": local}
if os.geteuid() == 0:  # the tests' engine is root's
    MACHINES["docker"] = container
"""How a machine with these limits, and with no network or a list of allowed hosts, is made."""


@pytest.fixture(scope="module")
def shared_state(session_dir: Path) -> Iterator[Path]:
    """One state directory for the whole table: a machine for each case would only cost time."""
    with own_state(session_dir) as path:
        yield path


@pytest.fixture(scope="module", params=list(MACHINES))
def kind(request: pytest.FixtureRequest, shared_state: Path) -> Iterator[str]:
    del shared_state  # made the one in force
    with engine_for(request, request.param):
        yield request.param


@pytest.fixture(scope="module")
def make(kind: str) -> Callable[[list[str] | None], Machine]:
    return MACHINES[kind]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(make: Callable[[list[str] | None], Machine], shared_state: Path) -> AsyncIterator[Machine]:
    del shared_state
    started = make(None)
    await started.start()
    yield started
    await started.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listed(make: Callable[[list[str] | None], Machine], shared_state: Path) -> AsyncIterator[Machine]:
    del shared_state
    started = make(["allowed.test", "*.allowed.test"])
    await started.start()
    yield started
    await started.stop()


@pytest.fixture(scope="module")
def target(session_dir: Path, shared_state: Path) -> Iterator[Host]:
    with host(session_dir, shared_state) as made:
        yield made


@pytest.fixture(scope="module")
def given(target: Host, kind: str, request: pytest.FixtureRequest) -> dict[str, object]:
    """What an attack knows of the host, and what of its machine is a way there at all."""
    sockets = [str(request.getfixturevalue("container_engine").socket)] if kind == "docker" else []
    return target.given | ABOUT[kind] | {"engine_sockets": sockets}


SOURCE = inspect.getsource(attacks)
_SHARED = {"root_is_the_hosts": True, "first_is_ours": True, "alone": True}
ABOUT: dict[str, dict[str, object]] = {
    "local": {"etc_is_the_hosts": True, "console_is_the_hosts": True, "programs": ""} | _SHARED,
    "docker": {"etc_is_the_hosts": False, "console_is_the_hosts": False, "programs": "/home/.gitmachine"} | _SHARED,
}
"""What of a machine is a way to the host at all, by its name in `MACHINES`."""


async def tried(machine: Machine, name: str, given: dict[str, object]) -> str:
    """What the attack printed."""
    program = f"{SOURCE}\nmain({name!r}, {given!r})\n"
    result = await machine.execute("/usr/bin/python3 -", ExecuteOptions(stdin=program, timeout=60))
    return result.stdout + result.stderr


def test_the_table_is_as_long_as_it_has_to_be() -> None:
    assert len(attacks.ATTACKS) + len(BOMBS) >= 40


SEEN_WITHOUT_WALLS = (
    "host_secret_by_path", "host_processes", "shared_memory", "host_loopback", "host_loopback_over_ipv6",
    "unix_socket_of_the_host", "abstract_socket_of_the_host", "rights",
)  # fmt: skip


@pytest.mark.parametrize("name", SEEN_WITHOUT_WALLS)
def test_the_table_sees_an_escape_where_there_are_no_walls(target: Host, name: str) -> None:
    program = f"{SOURCE}\nmain({name!r}, {target.given | ABOUT['local']!r})\n"
    done = subprocess.run(["/usr/bin/python3", "-"], input=program, capture_output=True, text=True, timeout=60)
    assert "ESCAPED" in done.stdout
    target.connected()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", [name for name in attacks.ATTACKS if name not in attacks.PAST_THE_LIST])
async def test_no_way_out(machine: Machine, given: dict[str, object], target: Host, name: str) -> None:
    said = await tried(machine, name, given)
    assert "ESCAPED" not in said
    assert f"tried {name}" in said
    assert target.connected() == []
    assert state(target.secret) == target.before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", attacks.PAST_THE_LIST)
async def test_no_way_past_the_list(listed: Machine, target: Host, name: str) -> None:
    said = await tried(listed, name, target.given)
    assert "ESCAPED" not in said
    assert "answered b'40" in said
    assert f"tried {name}" in said
    assert target.connected() == []


FORK = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"
BOMBS = {
    "fork_bomb": f"python3 -c '{FORK}'",
    "fork_bomb_in_the_background": f"setsid python3 -c '{FORK}' & sleep 1",
    "memory_bomb": "python3 -c 'x = [bytearray(64 << 20) for _ in range(100)]'",
    "memory_bomb_in_tmp": "head -c 10000000000 /dev/zero > /tmp/x",
    "memory_bomb_in_shared_memory": "head -c 10000000000 /dev/zero > /dev/shm/x",
    "full_disk": "cat /dev/zero > ~/big",
    "thousands_of_files": 'mkdir ~/many; python3 -c \'for n in range(9**5): open(f"many/{n}", "w").write("x")\'',
    "huge_output": "yes | head -c 300000000; yes >&2 | head -c 1000",
    "open_files": "python3 -c 'import os\nwhile True: os.dup(0)'",
    "busy_loops": "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; wait",
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", BOMBS)
async def test_no_bomb_reaches_the_host_and_the_machine_goes_on(machine: Machine, target: Host, name: str) -> None:
    bomb = await machine.execute(BOMBS[name], ExecuteOptions(timeout=4, max_output_bytes=10_000))
    assert len(bomb.stdout) + len(bomb.stderr) < 50_000
    await machine.execute("pkill -9 python3; rm -rf ~/big ~/many /tmp/x /dev/shm/x", ExecuteOptions(timeout=30))
    after = await machine.execute("echo on; ls / | wc -l", ExecuteOptions(timeout=30))
    assert after.stdout.startswith("on\n")
    assert after.exit_code == 0
    assert state(target.secret) == target.before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind_of_link", ["symlink", "hard link"])
async def test_file_calls_follow_no_link_out_of_the_machine(machine: Machine, target: Host, kind_of_link: str) -> None:
    path = target.given["secret"]
    made = f"ln -sfn {path} way" if kind_of_link == "symlink" else f"ln -f {path} way"
    await machine.execute(f"rm -f way; {made}; ln -sfn / root; ln -sfn {target.given['state']} state")
    for name in ("way", f"root{path}", f"../../../../../../..{path}", path, "state/machines"):
        with pytest.raises(OSError):
            await machine.read_file(name)
    with pytest.raises(OSError):
        await machine.list_files("state")
    with suppress(OSError):  # in the machine's own tree such a path may be made
        await machine.write_file("way", "overwritten")
    await machine.remove("way")
    assert state(target.secret) == target.before
