"""A container's life: other programs, engines elsewhere, what cannot be started, and what is left."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from gitmachine import DockerMachine, MachineState
from gitmachine.errors import ConfigurationError, MachineLost, MachineNotFound, MachineUnavailable, StateError
from gitmachine.types import ExecuteOptions
from tests.support.docker_engine import EMPTY, IMAGE, WITHOUT_PYTHON, DockerEngine

_LIMIT_S = 20.0


async def _until(state: MachineState, machine: DockerMachine) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while machine.state is not state:
            await asyncio.sleep(0.01)


async def test_another_program_finds_the_machine_by_its_id(machine: DockerMachine) -> None:
    await machine.write_file("kept", "by another")
    program = (
        "import asyncio, sys\n"
        "from gitmachine import DockerMachine\n"
        "async def main():\n"
        "    machine = await DockerMachine.connect(sys.argv[1])\n"
        "    print((await machine.execute('cat kept; echo $GM_A')).stdout, end='')\n"
        "    await machine.aclose()\n"
        "asyncio.run(main())\n"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(machine.id), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(other.communicate(), _LIMIT_S)
    assert (other.returncode, out) == (0, b"by another\n")
    assert machine.id in await DockerMachine.list()


async def test_what_another_program_does_to_the_machine_is_seen_at_once(machine: DockerMachine) -> None:
    other = await DockerMachine.connect(str(machine.id))
    await machine.pause()
    await _until(MachineState.PAUSED, other)
    with pytest.raises(StateError, match=r"resume\(\)"):
        await other.execute("true")
    await other.resume()
    await _until(MachineState.RUNNING, machine)
    assert (await machine.execute("echo on")).stdout == "on\n"
    await other.stop()
    await _until(MachineState.STOPPED, machine)
    with pytest.raises(MachineLost, match="ended without stop"):
        await machine.execute("true")


async def test_a_pause_that_came_first_is_named_and_nothing_is_run(
    machine: DockerMachine, docker: DockerEngine
) -> None:
    docker.docker("pause", str(machine.id))
    await _until(MachineState.PAUSED, machine)
    with pytest.raises(StateError, match=r"resume\(\)"):
        await machine.pause()
    await machine.resume()
    assert (await machine.execute("true")).ok


async def test_a_command_in_flight_when_the_container_dies_is_a_lost_machine(
    machine: DockerMachine, docker: DockerEngine
) -> None:
    started = asyncio.Event()
    running = asyncio.ensure_future(
        machine.execute("echo up; sleep 1000", ExecuteOptions(on_stdout=lambda _: started.set()))
    )
    await asyncio.wait_for(started.wait(), _LIMIT_S)
    docker.docker("kill", str(machine.id))
    with pytest.raises(MachineLost):
        await asyncio.wait_for(running, _LIMIT_S)
    with pytest.raises(MachineLost):
        await DockerMachine.connect(str(machine.id))


async def test_what_is_left_of_a_machine_that_ended_has_its_files(machine: DockerMachine, docker: DockerEngine) -> None:
    await machine.write_file("kept", "over a reboot")
    docker.docker("kill", str(machine.id))
    revived = await DockerMachine.remains(str(machine.id))
    assert revived.state is MachineState.RUNNING
    assert await revived.read_file("kept") == "over a reboot"
    await revived.aclose()


async def test_a_killed_relay_costs_no_more_than_what_it_carried(machine: DockerMachine, docker: DockerEngine) -> None:
    await machine.execute("true")
    docker.docker("exec", "--user", "64999", str(machine.id), "/bin/sh", "-c", "kill -9 -1")
    async with asyncio.timeout(_LIMIT_S):
        while True:
            try:
                assert (await machine.execute("echo again")).stdout == "again\n"
                break
            except MachineLost:
                continue


async def test_a_command_cannot_end_what_carries_it(machine: DockerMachine) -> None:
    result = await machine.execute("kill -9 1; python3 -c 'import os; os.kill(-1, 9)'; echo not reached")
    assert result.exit_code == 137
    assert (await machine.execute("echo well")).stdout == "well\n"


async def test_background_commands_outlive_the_program_that_started_them(machine: DockerMachine) -> None:
    process = await machine.spawn("read -r x; echo got $x")
    await machine.aclose()
    again = await DockerMachine.connect(str(machine.id))
    found = await again.process(process.id)
    await found.write_stdin("it\n")
    assert (await found.wait(_LIMIT_S)).stdout == "got it\n"
    await again.aclose()


async def test_an_engine_over_tls_works_as_one_here(docker: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(docker.certificates.directory))
    machine = DockerMachine(IMAGE, host=f"tcp://127.0.0.1:{docker.tcp_port}", pull="never")
    await machine.start()
    try:
        assert (await machine.execute("cat", ExecuteOptions(stdin=b"x" * 300_000))).stdout == "x" * 300_000
        # The id says which engine, so that a session's record is enough to find it again.
        other = await DockerMachine.connect(str(machine.id))
        assert await other.exists("/home/user")
        await other.aclose()
    finally:
        await machine.stop()


async def test_an_engine_without_our_certificate_is_refused(docker: DockerEngine) -> None:
    with pytest.raises(MachineUnavailable, match=str(docker.tcp_port)):
        await DockerMachine(IMAGE, host=f"tcp://127.0.0.1:{docker.tcp_port}").start()


async def test_an_engine_that_does_not_answer_is_named(session_dir: os.PathLike[str]) -> None:
    machine = DockerMachine(IMAGE, host=f"unix://{session_dir}/nobody.sock")
    with pytest.raises(MachineUnavailable, match=r"nobody\.sock.*start Docker or Podman"):
        await machine.start()
    assert (machine.state, machine.id) == (MachineState.IDLE, None)


async def test_an_image_that_is_not_there_is_named(docker: DockerEngine) -> None:
    with pytest.raises(MachineUnavailable, match="no-such-image:1"):
        await DockerMachine("no-such-image:1", pull="never").start()


async def test_an_image_with_nothing_to_run_is_named_and_leaves_nothing(docker: DockerEngine) -> None:
    machine = DockerMachine(EMPTY, pull="never", labels={"test": "empty"})
    with pytest.raises(MachineUnavailable, match="neither python3 nor /bin/sh"):
        await machine.start()
    assert machine.state is MachineState.IDLE
    assert docker.containers("test=empty") == []


async def test_a_start_that_is_cancelled_leaves_nothing(docker: DockerEngine) -> None:
    machine = DockerMachine(IMAGE, pull="never", labels={"test": "cancelled"})
    starting = asyncio.ensure_future(machine.start())
    async with asyncio.timeout(_LIMIT_S):
        while not docker.containers("test=cancelled"):
            await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert docker.containers("test=cancelled") == []


async def test_an_unknown_machine_is_not_found(docker: DockerEngine) -> None:
    for name in ("gitmachine-000000000000", "../x", "", "$(touch x)"):
        with pytest.raises(MachineNotFound):
            await DockerMachine.connect(name)


async def test_a_container_of_somebody_else_is_no_machine(docker: DockerEngine) -> None:
    name = docker.docker("create", "--name", "foreign", IMAGE, "true")
    try:
        with pytest.raises(MachineNotFound, match="no machine of ours"):
            await DockerMachine.connect("foreign")
    finally:
        docker.docker("rm", name)


async def test_mounts_are_read_only_unless_asked_for(docker: DockerEngine, session_dir: os.PathLike[str]) -> None:
    for name in ("given", "kept"):
        os.mkdir(f"{session_dir}/{name}")
        os.chmod(f"{session_dir}/{name}", 0o777)
    machine = DockerMachine(
        IMAGE,
        pull="never",
        mounts=[f"{session_dir}/kept:/kept", f"{session_dir}/given:/given:rw"],
        labels={"who": "me"},
    )
    try:
        await machine.start()
        result = await machine.execute("touch /given/x && touch /kept/x")
        assert "Read-only" in result.stderr
        assert os.path.exists(f"{session_dir}/given/x")
        label = docker.docker("inspect", "--format", "{{.Config.Labels.who}}", str(machine.id))
        assert label == "me"
    finally:
        await machine.stop()
        for name in ("given/x", "given", "kept"):
            path = f"{session_dir}/{name}"
            (os.rmdir if os.path.isdir(path) else os.unlink)(path)


@pytest.mark.parametrize("source", ["/", "/var/run", "/run", "/run/docker.sock", "/var/run/../run/docker.sock"])
def test_the_engines_socket_is_never_mounted(source: str) -> None:
    with pytest.raises(ConfigurationError, match="socket"):
        DockerMachine(IMAGE, mounts=[f"{source}:/mnt"])


def test_the_socket_of_the_engine_in_use_is_never_mounted(docker: DockerEngine) -> None:
    for source in (docker.directory, docker.socket):
        with pytest.raises(ConfigurationError, match="socket"):
            DockerMachine(IMAGE, mounts=[f"{source}:/mnt"])


async def test_a_system_that_is_read_only_has_a_home_and_a_tmp(docker: DockerEngine) -> None:
    machine = DockerMachine(IMAGE, pull="never", read_only=True)
    try:
        await machine.start()
        assert (await machine.execute("touch ~/x /tmp/x && ! touch /etc/x 2>/dev/null")).ok
    finally:
        await machine.stop()


async def test_users_are_numbers_or_names_of_the_image(docker: DockerEngine) -> None:
    for user, expected in (("root", "0:0"), ("games", "5:60"), ("1234:5678", "1234:5678")):
        machine = DockerMachine(IMAGE, pull="never", user=user)
        try:
            await machine.start()
            result = await machine.execute("touch ~/mine && stat -c %u:%g ~/mine; grep CapEff /proc/self/status")
            assert result.stdout.split() == [expected, "CapEff:", "0" * 16]
        finally:
            await machine.stop()
    with pytest.raises(ConfigurationError, match="no user 'nobody-here'"):
        await DockerMachine(IMAGE, pull="never", user="nobody-here").start()


async def test_an_image_without_python_runs_commands_all_the_same(docker: DockerEngine) -> None:
    machine = DockerMachine(WITHOUT_PYTHON, pull="never", envs={"GM_A": "given"})
    try:
        await machine.start()
        result = await machine.execute("echo $GM_A; exit 126")
        assert (result.stdout, result.exit_code) == ("given\n", 126)
    finally:
        await machine.stop()


@pytest.mark.parametrize(
    "arguments",
    [
        {"memory": "much"},
        {"memory": 0},
        {"cpus": -1.0},
        {"network": "lan"},
        {"network": ["169.254.169.254"]},
        {"mounts": ["x:/y"]},
    ],
)
def test_wrong_arguments_are_named_before_anything_is_done(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        DockerMachine(IMAGE, **arguments)  # type: ignore[arg-type]
