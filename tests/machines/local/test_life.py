"""A local machine's life: processes, pauses, other programs, and what is left when it ends or cannot begin."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from gitmachine.errors import (
    ConfigurationError,
    MachineLost,
    MachineNotFound,
    MachineUnavailable,
    StateError,
)
from gitmachine.machines.local import Limits, LocalMachine, probe
from gitmachine.machines.local.freezer import Cgroup1Freezer, Cgroup2Freezer, Freezer, SweepFreezer
from gitmachine.types import ExecuteOptions, MachineState
from tests import leaks

TREE = """
sleep 1000 &
(sleep 1001 &) &
setsid sleep 1002 &
setsid sh -c 'env -i setsid sleep 1003 & exit' &
python3 -c 'import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1004)
    os._exit(0)
os.wait()' &
echo started
sleep 1005
"""


async def sleepers(machine: LocalMachine) -> list[str]:
    found = await machine.execute("ps -eo args | grep -E 'sleep(.| )100' | grep -v grep || true")
    return found.stdout.splitlines()


async def test_a_deadline_kills_the_whole_tree_within_two_seconds(machine: LocalMachine) -> None:
    began = time.monotonic()
    result = await machine.execute(TREE, ExecuteOptions(timeout=1))
    assert time.monotonic() - began < 3
    assert (result.timed_out, result.exit_code, result.stdout) == (True, 124, "started\n")
    assert await sleepers(machine) == []


async def test_a_cancelled_call_kills_the_whole_tree(machine: LocalMachine) -> None:
    started = asyncio.Event()
    task = asyncio.create_task(machine.execute(TREE, ExecuteOptions(on_stdout=lambda _: started.set())))
    await asyncio.wait_for(started.wait(), 10)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 2
    assert await sleepers(machine) == []


async def test_a_kill_leaves_other_commands_alone(machine: LocalMachine) -> None:
    await machine.execute("sleep 1000 &")
    await machine.execute("sleep 1001", ExecuteOptions(timeout=0.2))
    assert await sleepers(machine) == ["sleep 1000"]


async def test_a_fork_storm_ends_with_its_deadline(machine: LocalMachine) -> None:
    storm = "storm() { storm & storm & wait; }; for i in 1 2 3; do (while :; do /bin/true & done) & done; sleep 100"
    result = await machine.execute(storm, ExecuteOptions(timeout=0.5))
    assert result.timed_out
    left = await machine.execute("ps -e --no-headers | wc -l")
    assert int(left.stdout) <= 5


async def test_background_processes_live_on_and_never_die_of_a_closed_pipe(machine: LocalMachine) -> None:
    await machine.execute("echo 0 > n; (n=0; while n=$((n+1)); do echo line $n; echo $n > ~/n; done) &")
    first = int(await machine.read_file("n") or 0)
    more = f'until [ "$(cat n)" -gt {first + 20_000} ] 2>/dev/null; do :; done'
    assert (await machine.execute(more, ExecuteOptions(timeout=30))).exit_code == 0


async def test_the_death_of_the_host_program_kills_the_command_and_not_the_machine(state_dir: Path) -> None:
    program = (
        "import asyncio\n"
        "from gitmachine.machines.local import LocalMachine\n"
        "from gitmachine.types import ExecuteOptions\n"
        "async def main():\n"
        "    machine = LocalMachine()\n"
        "    await machine.start()\n"
        "    await machine.execute('sleep 1000 & echo $! > background')\n"
        "    print(machine.id, flush=True)\n"
        "    await machine.execute('touch runs; sleep 1001')\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    assert child.stdout is not None
    machine_id = (await asyncio.wait_for(child.stdout.readline(), 30)).decode().strip()
    machine = await LocalMachine.connect(machine_id)
    try:
        await machine.execute("until [ -e runs ]; do :; done", ExecuteOptions(timeout=20))
        child.kill()
        await child.communicate()
        gone = "while pgrep -f 'sleep 1001' | grep -qv $$; do :; done"
        assert (await machine.execute(gone, ExecuteOptions(timeout=20))).exit_code == 0
        assert (await machine.execute("kill -0 $(cat background)")).exit_code == 0
        assert await LocalMachine.list() == [machine_id]
    finally:
        await machine.stop()
    assert await LocalMachine.list() == []
    assert list((state_dir / "machines").iterdir()) == []


_STREAM = """
import asyncio, re, sys
from gitmachine.machines.local import LocalMachine
from gitmachine.types import ExecuteOptions
seen = 0
def count(text):
    global seen
    seen += len(text)
async def main():
    machine = await LocalMachine.connect(sys.argv[1])
    options = ExecuteOptions(on_stdout=count, timeout=100)
    result = await machine.execute("head -c 1073741824 /dev/zero", options)
    # Not ru_maxrss (getrusage(2)), which begins with the size of whoever started this program.
    peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)
    print(seen, result.truncated, peak)
asyncio.run(main())
"""


async def test_a_gibibyte_of_output_costs_little_memory_and_none_of_it_is_missed(machine: LocalMachine) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _STREAM, str(machine.id), stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    said, _ = await asyncio.wait_for(child.communicate(), 110)
    seen, truncated, peak_kib = said.decode().split()
    assert (seen, truncated) == ("1073741824", "True")
    assert int(peak_kib) < 100 * 1024


def freezers(machine: LocalMachine) -> list[Freezer]:
    assert machine._record is not None
    groups = machine._record.groups
    found: list[Freezer] = [SweepFreezer(machine._record.init.pid)]
    if groups.unified:
        found.append(Cgroup2Freezer(groups.unified))
    if "freezer" in groups.by_controller:
        found.append(Cgroup1Freezer(groups.by_controller["freezer"]))
    return found


async def test_each_freezer_of_this_host_keeps_a_counters_memory(machine: LocalMachine) -> None:
    counter = "import sys\nn = 0\nfor line in sys.stdin:\n    n += 1\n    open('n', 'w').write(str(n))\n"
    await machine.write_file("counter.py", counter)
    await machine.execute("mkfifo in; (exec 3<>in; exec python3 counter.py <&3) & while :; do :; done & true")
    ticks = "cat /proc/[0-9]*/stat | awk '{t += $14 + $15} END {print t}'"
    for number, freezer in enumerate(freezers(machine), 1):
        await machine.execute(f'echo x > in; until [ "$(cat n)" = {number} ]; do :; done', ExecuteOptions(timeout=10))
        assert not freezer.is_frozen()
        await freezer.freeze()
        assert freezer.is_frozen()
        assert machine._record is not None
        assert _cpu_ticks(machine) == _cpu_ticks(machine)
        await freezer.thaw()
        assert not freezer.is_frozen()
        assert (await machine.execute(ticks)).ok


def _cpu_ticks(machine: LocalMachine) -> list[str]:
    assert machine._record is not None
    from gitmachine.machines.local import proc

    members = proc.namespace_members(machine._record.init.pid)
    return [" ".join(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]) for pid in members]


async def test_another_program_sees_and_ends_a_pause(machine: LocalMachine) -> None:
    await machine.pause()
    other = await LocalMachine.connect(str(machine.id))
    assert other.state is MachineState.PAUSED
    with pytest.raises(StateError, match=r"resume\(\)"):
        await other.execute("true")
    await other.resume()
    assert machine.state is MachineState.RUNNING
    assert (await machine.execute("true")).ok


async def test_a_machine_that_died_is_lost_and_says_where_its_files_are(machine: LocalMachine) -> None:
    await machine.write_file("kept", "x")
    assert machine._record is not None
    os.kill(machine._record.init.pid, 9)
    assert await asyncio.to_thread(leaks.until, lambda: machine.state is MachineState.STOPPED, 10)
    with pytest.raises(MachineLost, match="home"):
        await machine.execute("true")
    with pytest.raises(MachineLost):
        await LocalMachine.connect(str(machine.id))
    remains = await LocalMachine.remains(str(machine.id))
    assert remains.state is MachineState.STOPPED
    observer = await remains.observer(".")
    assert observer is not None
    assert await observer.read_bytes("/w/kept") == b"x"


async def test_a_paused_machine_that_is_killed_from_outside_leaves_nothing(state_dir: Path) -> None:
    machine = LocalMachine()
    await machine.start()
    await machine.pause()
    assert machine._record is not None
    os.kill(machine._record.init.pid, 9)
    await machine.stop()
    assert list((state_dir / "machines").iterdir()) == []


@pytest.mark.parametrize("machine_id", ["local-000000000000", "../etc", "", "."])
async def test_an_unknown_machine_is_not_found(state_dir: Path, machine_id: str) -> None:
    del state_dir
    with pytest.raises(MachineNotFound, match="LocalMachine"):
        await LocalMachine.connect(machine_id)


@pytest.mark.parametrize("observed", [False, True])
async def test_a_start_that_fails_leaves_nothing_and_says_why(state_dir: Path, observed: bool) -> None:
    machine = LocalMachine(limits=Limits(open_files=5))  # too few for the agent
    if observed:
        await machine.observer(".")
    with pytest.raises(MachineUnavailable, match="Too many open files"):
        await machine.start()
    assert machine.state is MachineState.IDLE
    assert machine.id is None
    assert list((state_dir / "machines").iterdir()) == []


@pytest.mark.parametrize("made", ["", "agent.sock", "observer.sock", "agent.log", "observer.json", "machine.json"])
async def test_a_cancelled_start_leaves_nothing(state_dir: Path, made: str) -> None:
    machine = LocalMachine()
    await machine.observer(".")
    task = asyncio.create_task(machine.start())
    while made and not list(state_dir.glob(f"machines/*/{made}")):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    machines = state_dir / "machines"
    assert not machines.exists() or list(machines.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [{"network": "lan"}, {"network": ["http://pypi.org/"]}, {"isolation": "none"}, {"rootfs": "/"}]
)
def test_what_is_not_available_is_refused_before_anything_is_made(state_dir: Path, arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"available|not a policy|no entry"):
        LocalMachine(**arguments)  # type: ignore[arg-type]
    assert list(state_dir.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's machines run as another user")
async def test_a_state_directory_that_the_machines_user_cannot_reach_is_named(state_dir: Path) -> None:
    closed = state_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match=r"closed .*GITMACHINE_HOME"):
        await LocalMachine(state_dir=closed / "below").start()


async def test_a_state_directory_with_a_long_name_works(state_dir: Path) -> None:
    machine = LocalMachine(state_dir=state_dir / ("a" * 100) / ("b" * 100))
    await machine.start()
    try:
        assert (await machine.execute("echo hi")).stdout == "hi\n"
    finally:
        await machine.stop()


async def test_limits_hold(state_dir: Path) -> None:
    del state_dir
    machine = LocalMachine(limits=Limits(memory_bytes=128 * 1024**2, processes=64, file_bytes=1024**2, tmp_bytes=2**20))
    await machine.start()
    try:
        greedy = await machine.execute("python3 -c 'x = bytearray(400 << 20); print(len(x))'")
        assert (greedy.exit_code, greedy.stdout) != (0, "419430400\n")
        many = await machine.execute("for i in $(seq 200); do sleep 5 & done", ExecuteOptions(timeout=20))
        assert "fork" in many.stderr or many.timed_out
        await machine.execute("true", ExecuteOptions(timeout=20))
    finally:
        await machine.stop()


async def test_files_and_tmp_are_bounded(state_dir: Path) -> None:
    del state_dir
    machine = LocalMachine(limits=Limits(file_bytes=1024**2, tmp_bytes=2**20))
    await machine.start()
    try:
        large = await machine.execute("head -c 2000000 /dev/zero > large; stat -c %s large")
        assert large.stdout == "1048576\n"
        full = await machine.execute("head -c 1000000 /dev/zero > /tmp/a; head -c 1000000 /dev/zero > /tmp/b")
        assert "No space left" in full.stderr
        assert machine.capabilities.limits["file"] == "1 MiB (resource limit)"
    finally:
        await machine.stop()


async def test_a_lifetime_ends_the_machine(state_dir: Path) -> None:
    del state_dir
    machine = LocalMachine(limits=Limits(lifetime_s=1))
    await machine.start()
    try:
        with pytest.raises(MachineLost):
            await machine.execute("sleep 30", ExecuteOptions(timeout=20))
    finally:
        await machine.stop()


async def test_a_directory_tree_of_any_shape_is_removed(state_dir: Path) -> None:
    machine = LocalMachine()
    await machine.start()
    await machine.execute(
        'python3 -c \'import os\nfor _ in range(2000): os.mkdir("d"); os.chdir("d")\'; mkdir -m 0 closed; '
        "mkdir -p a/b; touch a/b/c; chmod 0 a/b a; ln -s / root"
    )
    await machine.stop()
    assert list((state_dir / "machines").iterdir()) == []


async def test_doctor_finds_what_a_machine_needs() -> None:
    findings = {finding.name: finding for finding in await probe.findings()}
    assert set(findings) == {"bubblewrap", "namespaces", "user", "pause", "limits"}
    assert all(finding.ok for finding in findings.values())


@pytest.mark.parametrize(
    ("stderr", "remedy"),
    [
        ("bwrap: No permissions to create a new namespace, likely because ...", "seccomp=unconfined"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths=unconfined"),
        ("bwrap: setting up uid map: Permission denied", "apparmor"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "apparmor"),
        ("bwrap: Creating new namespace failed: Resource temporarily unavailable", "ulimit"),
        ("bwrap: Unknown option --disable-userns", "0.8"),
        ("something new", "doctor"),
    ],
)
def test_a_refusal_of_the_kernel_is_told_with_its_remedy(stderr: str, remedy: str) -> None:
    assert remedy in str(probe.unavailable(stderr))
