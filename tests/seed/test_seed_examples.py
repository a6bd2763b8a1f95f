"""The seed's examples run, as programs, and do what its README says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gitmachine import GitMachine, LocalMachine, Machine, MachineState
from tests.providers.plain import PlainMachine
from tests.support.e2b import e2b, e2b_endpoint
from tests.support.git_server import TOKEN, GitServer, Repository, git_server

__all__ = ["e2b", "e2b_endpoint", "git_server"]

HERE = Path(__file__).parent


@pytest.fixture
def project(git_server: GitServer) -> Repository:
    return git_server.repository()


@pytest.fixture(params=["LocalMachine", "E2BMachine"])
def machine(request: pytest.FixtureRequest, state_dir: Path) -> str:
    """The class that the programs use. For E2B they are given nothing but the endpoint's environment variables."""
    if request.param == "E2BMachine":
        request.getfixturevalue("e2b")
    chosen: str = request.param
    return chosen


def program(name: str, machine: str, project: Repository, *words: str) -> str:
    """What one of the programs beside this file prints, with `machine` as its machine."""
    text = (HERE / name).read_text()
    if machine == "E2BMachine":
        text = text.replace("LocalMachine(env=", "E2BMachine(envs=").replace("LocalMachine", machine)
    done = subprocess.run(
        [sys.executable, "-c", text, *words],
        env={**os.environ, "REPOSITORY": project.url, "TOKEN": TOKEN, "PYTHONPATH": str(HERE.parent.parent)},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def events(output: str) -> list[str]:
    """The names of the events in the seed's way of printing them, without those it did not have."""
    names = [line.split("]")[0][1:].removeprefix("event:") for line in output.splitlines() if line.startswith("[")]
    ours = ("command_", "checkpointed", "on_")
    return [name for name in names if not name.startswith(ours)]


def test_the_quick_start(machine: str, project: Repository) -> None:
    output = program("quick_start.py", machine, project)
    assert events(output) == ["started", "paused", "resumed", "stopping", "stopped"]


def test_the_sequential_example(machine: str, project: Repository) -> None:
    output = program("sequential.py", machine, project)
    assert events(output) == [
        "started", "paused", "resumed", "committed", "pushed", "pulled", "stopping", "stopped",
    ]  # fmt: skip
    assert "Paused. State: paused" in output
    assert "Commands run: 3" in output
    assert output.index("Session complete.") < output.index("Done. State: stopped")
    assert project.git("show", "review-session:gitmachine.txt") == "hello from gitmachine"


def test_fire_and_forget_with_reconnection_from_a_second_process(machine: str, project: Repository) -> None:
    first = program("fire_and_forget.py", machine, project, "start")
    assert "Agent finished: 0" in first
    made = next(line.split()[1] for line in first.splitlines() if line.startswith("sandbox "))
    second = program("fire_and_forget.py", machine, project, "reconnect", made)
    assert events(second) == [
        "reconnected", "committed", "paused", "resumed", "pushed", "stopping", "stopped",
    ]  # fmt: skip
    assert "+reviewed" in second
    for hook in ("on_pause", "on_resume", "on_end"):
        assert f"[{hook}] sandbox={made}" in second
    assert project.git("show", "job-123:review.txt") == "reviewed"


async def test_a_provider_written_from_the_ten_members_has_a_whole_session(
    project: Repository, state_dir: Path
) -> None:
    (written,) = PlainMachine.__bases__
    members = {name for name in vars(written) if not name.startswith("_")}
    assert members == set(Machine.__abstractmethods__)
    assert len(members) == 10
    gm = GitMachine(machine=PlainMachine(), repository=project.url, token=TOKEN, session="custom")
    await gm.start()
    await gm.run("echo custom > custom.txt")
    await gm.pause()
    await gm.resume()
    await gm.stop()
    assert gm.state is MachineState.STOPPED
    assert project.git("show", "custom:custom.txt") == "custom"


def test_the_public_names_of_the_seed_are_there() -> None:
    import gitmachine

    for name in ("GitMachine", "E2BMachine", "Machine", "MachineState", "ExecutionResult", "LocalMachine"):
        assert hasattr(gitmachine, name)
    assert issubclass(LocalMachine, Machine)
