"""Ctrl-C, SIGTERM, kill -9: the command ends, the work stays, and the way on is said."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from gitmachine.machines.local.record import InitRecord, MachineRecord
from tests.cli.conftest import CommandLine, git, wait_until

WORKING = "echo half > work; echo ready; sleep 600"


def _interrupted(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_command_and_keeps_the_work(
    gitmachine: CommandLine, checkout: Path, number: signal.Signals
) -> None:
    with gitmachine.begin("run", "--session", "s", WORKING) as process:
        code, said = _interrupted(process, number)
    assert code == 128 + number
    assert "Traceback" not in said
    assert "gitmachine run --session s" in said
    assert gitmachine.json("ls")["sessions"][0]["state"] == "paused"
    assert gitmachine("run", "--session", "s", "cat work; pgrep -x sleep || echo none").stdout == "half\nnone\n"
    gitmachine("stop", "s")
    assert git(checkout, "show", "s:work") == "half"


def test_ctrl_c_leaves_a_session_live_that_was_live_before(gitmachine: CommandLine) -> None:
    gitmachine("start", "--session", "s")
    with gitmachine.begin("run", "--session", "s", WORKING) as process:
        code, said = _interrupted(process, signal.SIGINT)
    assert code == 130
    assert "goes on" in said
    assert gitmachine.json("status", "s")["state"] == "running"
    gitmachine("stop", "s")


def test_ctrl_c_before_the_command_leaves_no_machine(gitmachine: CommandLine) -> None:
    with gitmachine.begin("run", "--session", "s", "true") as process:
        wait_until(lambda: any(Path(os.environ["GITMACHINE_HOME"]).glob("machines/*")) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode in (130, 0)
    if process.returncode == 130:
        assert [s["state"] for s in gitmachine.json("ls")["sessions"]] in ([], ["paused"])
    for session in gitmachine.json("ls")["sessions"]:
        gitmachine("stop", session["id"], "--no-push")


def test_a_session_outlives_the_program_that_was_killed(gitmachine: CommandLine, checkout: Path) -> None:
    gitmachine("run", "--session", "s", "echo one > first")
    with gitmachine.begin("run", "--session", "s", WORKING) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
    assert [(s["session"], s["state"]) for s in gitmachine.json("ls")["sessions"]] == [("s", "running")]
    done = gitmachine("resume", "s")
    assert "running already" in done.stderr
    gitmachine("stop", "s")
    assert git(checkout, "show", "s:first") == "one"
    assert git(checkout, "show", "s:work") == "half"


def test_a_session_outlives_its_machine(gitmachine: CommandLine, checkout: Path) -> None:
    gitmachine("start", "--session", "s")
    gitmachine("run", "--session", "s", "echo kept > work; rm hello.txt")
    (directory,) = Path(os.environ["GITMACHINE_HOME"]).glob("machines/*")
    os.kill(MachineRecord.load(directory / "machine.json").init.pid, signal.SIGKILL)
    os.kill(InitRecord.load(directory / "observer.json").pid, signal.SIGKILL)
    wait_until(lambda: [s["state"] for s in gitmachine.json("ls")["sessions"]] == ["lost"])
    done = gitmachine("run", "--session", "s", "cat work; git status --short")
    assert done.stdout == "kept\n D hello.txt\n?? work\n"
    assert git(checkout, "show", "s:work") == "kept"


def test_resume_brings_an_ended_machines_session_up_again(gitmachine: CommandLine) -> None:
    gitmachine("run", "--session", "s", "echo x > new")
    assert gitmachine("resume", "s").stdout == "s\n"
    assert gitmachine("run", "--session", "s", "cat new").stdout == "x\n"
    gitmachine("stop", "s")


def test_a_hangup_is_ignored_below_nohup(gitmachine: CommandLine, checkout: Path) -> None:
    below = replace(gitmachine, before=("nohup",))
    with below.begin("run", "--session", "s", "echo ready; sleep 1; echo done > work") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert git(checkout, "show", "s:work") == "done"
