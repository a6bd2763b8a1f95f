"""Looking back, going back and branching off, from the command line."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

from gitmachine import Registry
from gitmachine.machines.local.layout import Layout
from gitmachine.machines.local.record import MachineRecord
from gitmachine.settings import load
from tests.cli.conftest import CommandLine, wait_until


def test_the_log_is_numbered_and_a_rewind_goes_by_its_numbers(gitmachine: CommandLine) -> None:
    gitmachine("run", "--session", "s", "--keep", "--", "echo one > file")
    gitmachine("run", "--session", "s", "--keep", "--", "echo two > file; exit 3", exits=3)
    assert "+two" in gitmachine("log", "--patch").stdout
    first, second = gitmachine.json("log")
    assert (first["number"], second["number"], second["exit_code"], first["actor"]) == (1, 2, 3, "cli")
    assert [line["number"] for line in gitmachine.json("blame", "file")] == [2]
    assert "gitmachine rewind 2 s" in gitmachine("rewind", "1").stderr
    assert "+one" in gitmachine("diff", "--base", "#0", "--path", "file").stdout
    assert "-one" in gitmachine("diff", "--base", "#1", "--to", "#2").stdout
    assert "history" in gitmachine("rewind", "9", exits=66).stderr
    assert gitmachine.json("verify")["ok"] is True
    gitmachine("stop")
    assert [line["text"] for line in gitmachine.json("blame", "file", "s", "--at", "2")] == ["two"]
    assert "4 entries" in gitmachine("verify", "s").stderr


def test_forks_are_begun_and_compared(gitmachine: CommandLine) -> None:
    gitmachine("run", "--session", "s", "--keep", "--", "echo one > file")
    assert gitmachine("fork", "try", "s", "--count", "2").stdout == "try-1\ntry-2\n"
    gitmachine("run", "--session", "try-2", "--keep", "--", "echo two > file")
    rows = gitmachine.json("compare", "try-1", "try-2", "--check", "grep -q two file")
    assert [(row["session"], row["exit_code"], row["files"]) for row in rows] == [("try-1", 1, 0), ("try-2", 0, 1)]
    assert "exit 0" in gitmachine("compare", "try-1", "try-2", "--check", "true").stdout
    for name in ("s", "try-1", "try-2"):
        gitmachine("stop", name, "--no-push")


def test_resume_on_another_kind_of_machine_says_what_it_could_not_bring_back(
    gitmachine: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "other.py").write_text("from gitmachine import LocalMachine\nclass Other(LocalMachine): ...\n")
    gitmachine = replace(gitmachine, env={**gitmachine.env, "PYTHONPATH": str(tmp_path)})
    started = gitmachine.json("start", "--session", "s")
    gitmachine("run", "--session", "s", "--", "echo one > file")
    assert "`gitmachine stop s`" in gitmachine("resume", "s", "--machine", "other:Other", exits=64).stderr
    assert "use local, docker, e2b" in gitmachine("resume", "s", "--machine", "moon", exits=64).stderr
    init = MachineRecord.load(Layout.of(load(), started["machine"]).record).init.live()
    assert init is not None
    os.kill(init.pid, signal.SIGKILL)
    wait_until(lambda: "lost" in gitmachine("ls").stdout)
    assert "not restored: processes" in gitmachine("resume", "s", "--machine", "other:Other").stderr
    assert Registry().find("s").provider == "other:Other"
    assert gitmachine("run", "--session", "s", "--", "cat file").stdout == "one\n"
    gitmachine("stop", "s")
