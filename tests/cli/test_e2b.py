"""`--machine e2b` on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.cli.conftest import CommandLine, git
from tests.e2b_endpoint import E2BEndpoint
from tests.support.e2b import e2b as e2b
from tests.support.e2b import e2b_endpoint as e2b_endpoint


def test_a_session_runs_at_e2b_is_listed_and_collected(
    gitmachine: CommandLine, e2b: E2BEndpoint, checkout: Path
) -> None:
    there = replace(gitmachine, env={**gitmachine.env, **e2b.environment})
    assert there("run", "--machine", "e2b", "--session", "far", "--keep", "echo far >far.txt; cat far.txt").stdout == (
        "far\n"
    )
    (listed,) = there.json("ls")["sessions"]
    assert (listed["state"], listed["machine"] in e2b.sandboxes) == ("running", True)
    assert there.json("gc", "--machine", "e2b", "--dry-run") == []
    (gone,) = there.json("gc", "--machine", "e2b", "--older-than", "0s")
    assert (gone["kind"], gone["done"]) == ("sandbox", True)
    assert e2b.sandboxes == {}
    there("resume", "far")
    there("stop", "far")
    assert git(checkout, "show", "far:far.txt") == "far"


def test_without_a_key_the_command_line_says_where_to_get_one(gitmachine: CommandLine) -> None:
    done = gitmachine("run", "--machine", "e2b", "true", exits=64)
    assert "https://e2b.dev/dashboard" in done.stderr
