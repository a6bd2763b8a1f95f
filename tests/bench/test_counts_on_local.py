"""No operation starts more than it is expected to; see bench/counts.toml."""

from __future__ import annotations

from pathlib import Path

from bench import counting
from bench.repositories import synthetic


async def test_no_operation_on_this_host_starts_more_than_expected(state_dir: Path) -> None:
    repository = synthetic(state_dir / "repository.git", counting.FILES)
    seen = await counting.local(repository)
    assert counting.exceeding({"local": seen}, counting.expected()) == []
    assert seen.keys() == counting.expected()["local"].keys()


def test_the_table_tells_an_operation_that_does_more() -> None:
    allowed: counting.Table = {"local": {"diff": {"git_on_host": 1, "git": "diff"}}}
    assert counting.exceeding({"local": {"diff": {"git_on_host": 1}}}, allowed) == []
    assert counting.exceeding({"local": {"diff": {"git_on_host": 2, "git": "diff log"}}}, allowed) == [
        "local, diff: git_on_host is 2, 1 allowed (diff log)"
    ]
    assert counting.exceeding({"local": {"fetch": {"git_on_host": 0}}}, allowed) == [
        "local: 'fetch' is not in counts.toml"
    ]


def test_a_git_command_is_told_from_its_options() -> None:
    lines = ["git -c a.b=c --literal-pathspecs push -q origin", "git diff -c HEAD", "/bin/sh -c git log"]
    assert counting.git_commands(lines) == ["push", "diff"]
