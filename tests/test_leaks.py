"""The check that nothing is left finds what is left."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

from tests import leaks


@pytest.mark.parametrize("trace", ["directory", "argument", "environment"])
def test_a_process_is_found_by_what_it_knows_of_the_directory(state_dir: Path, trace: str) -> None:
    process = subprocess.Popen(
        ["sh", "-c", "read line", str(state_dir) if trace == "argument" else "none"],
        cwd=state_dir if trace == "directory" else "/",
        env={"PLACE": str(state_dir)} if trace == "environment" else {},
        stdin=subprocess.PIPE,
    )
    try:
        assert leaks.until(lambda: bool(leaks.processes(str(state_dir))), 5)
        assert [line.partition(":")[0] for line in leaks.processes(str(state_dir))] == [str(process.pid)]
    finally:
        process.communicate()
    assert leaks.processes(str(state_dir)) == []


def test_a_lock_that_is_held_counts_as_a_builder_at_work(state_dir: Path) -> None:
    lock = state_dir / "spares" / "key" / "one" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not leaks._unlocked(lock)
    leaks.wait_for_builders(state_dir)


def test_directories_closed_to_their_owner_are_removed(session_dir: Path) -> None:
    top = session_dir / "closed"
    (top / "inner" / "deep").mkdir(parents=True)
    (top / "inner" / "deep" / "file").touch()
    (top / "inner" / "deep").chmod(0)
    (top / "inner").chmod(0)
    leaks.remove_tree(top)
    assert not top.exists()
