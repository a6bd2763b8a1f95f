"""`apply`, `merge`, `checkout` and `gc` as a user has them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitmachine.machines.local.record import MachineRecord
from tests.cli.conftest import CommandLine, git, wait_until


@pytest.fixture
def worked(gitmachine: CommandLine) -> Iterator[CommandLine]:
    """A live session `fix` with a committed and an uncommitted file."""
    gitmachine("start", "--session", "fix")
    gitmachine("run", "--session", "fix", "--keep", "--", "sh", "-c", "echo one > one.txt; touch .envrc")
    gitmachine("commit", "fix", "-m", "One")
    gitmachine("run", "--session", "fix", "--keep", "--", "sh", "-c", "echo two > two.txt")
    yield gitmachine
    gitmachine("gc", "--older-than", "0s")


def test_apply_brings_everything_and_says_what_to_look_at(worked: CommandLine, checkout: Path) -> None:
    done = worked("apply", "fix")
    assert done.stdout.split() == [".envrc", "one.txt", "two.txt"]
    assert "look at these before you run" in done.stderr
    assert (checkout / "two.txt").read_text() == "two\n"
    refused = worked("apply", "fix", exits=65)
    assert "commit or stash them first" in refused.stderr


def test_merge_and_checkout_bring_commits_and_name_what_stayed(worked: CommandLine, checkout: Path) -> None:
    merged = worked.json("merge", "fix")
    assert merged["left_behind"] == ["two.txt"]
    assert git(checkout, "log", "-1", "--format=%s") == "One"
    worked("checkout", "fix", "--as", "theirs")
    assert git(checkout, "branch", "--show-current") == "theirs"


def test_conflicts_end_with_a_code_of_their_own_and_can_be_undone(worked: CommandLine, checkout: Path) -> None:
    (checkout / "one.txt").write_text("mine\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "Mine")
    undone = worked("merge", "fix", "--abort", exits=65)
    assert "conflicts in one.txt; the checkout is as it was" in undone.stderr
    assert git(checkout, "status", "--porcelain") == ""
    assert worked.json("merge", "fix", exits=65)["conflicts"] == ["one.txt"]


def test_gc_says_first_what_it_would_do(worked: CommandLine, state_dir: Path) -> None:
    assert worked.json("gc", "--dry-run") == []
    (machine,) = (state_dir / "machines").iterdir()
    record = MachineRecord.load(machine / "machine.json")
    os.kill(record.init.pid, signal.SIGKILL)
    wait_until(lambda: record.init.live() is None)
    (planned,) = worked.json("gc", "--dry-run")
    assert (planned["act"], planned["done"]) == ("rescue", False)
    assert planned["frees_bytes"] > 0
    assert machine.is_dir()
    done = worked("gc")
    assert "done: keep its work in the vault, then remove: machine" in done.stdout
    assert not machine.exists()
    assert "there is nothing to collect" in worked("gc").stderr


def test_a_duration_that_is_none_is_refused(gitmachine: CommandLine) -> None:
    assert "write 90s" in gitmachine("gc", "--older-than", "soon", exits=2).stderr
