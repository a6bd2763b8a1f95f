"""The commands other than `run`: each answers a person, `--json` and a wrong call."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine, git, wait_until


def test_a_session_from_start_to_stop(gitmachine: CommandLine, checkout: Path) -> None:
    assert gitmachine("start", "--session", "s").stdout == "s\n"
    gitmachine("run", "--session", "s", "echo more >> hello.txt; echo new > new.txt")
    assert "M hello.txt" in gitmachine("status").stdout
    assert "+more" in gitmachine("diff").stdout
    assert "new.txt" not in gitmachine("diff", "--path", "hello.txt").stdout
    assert "2 files changed" in gitmachine("diff", "--stat").stdout
    sha = gitmachine("commit", "-m", "Say more").stdout.strip()
    assert "nothing to commit" in gitmachine("commit").stderr
    assert gitmachine.json("push")["where"] == "remote"
    assert git(checkout, "rev-parse", "s") == sha
    gitmachine("pause")
    assert gitmachine.json("ls")["sessions"][0]["state"] == "paused"
    gitmachine("resume")
    assert "echo more" in gitmachine("log").stdout
    assert gitmachine.json("stop")["where"] == "nothing"
    assert gitmachine.json("ls")["sessions"] == []
    assert [s["session"] for s in gitmachine.json("ls", "--all")["sessions"]] == ["s"]


def test_pull_brings_what_others_pushed(gitmachine: CommandLine, checkout: Path) -> None:
    gitmachine("start", "--session", "s")
    gitmachine("run", "--session", "s", "echo more >> hello.txt")
    gitmachine("commit")
    gitmachine("push")
    git(checkout, "switch", "--quiet", "s")
    (checkout / "theirs.txt").write_text("theirs\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "Theirs")
    git(checkout, "switch", "--quiet", "main")
    assert gitmachine.json("pull")["updated"]
    assert gitmachine("run", "--session", "s", "cat theirs.txt").stdout == "theirs\n"
    gitmachine("stop")


def test_only_the_paths_that_are_named_are_committed(gitmachine: CommandLine, checkout: Path) -> None:
    gitmachine("run", "--session", "s", "--keep", "touch a b")
    gitmachine("commit", "s", "--path", "a")
    gitmachine("push", "s")
    assert git(checkout, "ls-tree", "--name-only", "s", "a", "b") == "a"
    gitmachine("stop", "s", "--no-push")


def test_what_the_guard_kept_out_is_named(gitmachine: CommandLine, checkout: Path) -> None:
    done = gitmachine("run", "--session", "s", "echo x > new; echo SECRET=1 > .env")
    assert "kept out: .env" in done.stderr
    assert git(checkout, "ls-tree", "--name-only", "s", ".env", "new") == "new"


def test_events_are_numbered_and_can_be_followed(gitmachine: CommandLine) -> None:
    gitmachine("start", "--session", "s")
    with gitmachine.begin("events", "s", "--follow", "--json") as process:
        gitmachine("stop", "s")
        said, _ = process.communicate(timeout=60)
    events = [json.loads(line) for line in said.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("started", "stopped")
    assert "stopped" in gitmachine("events", "s", "--after", str(len(events) - 1)).stdout


def test_status_of_an_ended_session_says_how_to_go_on(gitmachine: CommandLine) -> None:
    gitmachine("run", "--session", "s", "true")
    done = gitmachine("status", "s")
    assert "stopped" in done.stdout
    assert "gitmachine resume s" in done.stderr


@pytest.mark.parametrize("verb", ["diff", "commit", "push", "pull", "pause", "stop", "rewind"])
def test_what_needs_a_machine_says_of_an_ended_session_how_to_go_on(gitmachine: CommandLine, verb: str) -> None:
    gitmachine("run", "--session", "s", "true")
    done = gitmachine(verb, *(["0"] if verb == "rewind" else []), "s", exits=69)
    assert "session 's' is on no machine any more" in done.stderr
    assert "gitmachine resume s" in done.stderr


def test_a_record_that_cannot_be_read_is_reported_and_left(gitmachine: CommandLine) -> None:
    gitmachine("run", "--session", "s", "true")
    (record,) = Path(os.environ["GITMACHINE_HOME"]).glob("sessions/*/record.json")
    record.write_text("{")
    done = gitmachine("ls", "--all")
    assert str(record) in done.stderr
    assert len(gitmachine.json("ls", "--all")["corrupt"]) == 1
    assert record.read_text() == "{"


def test_several_live_sessions_have_to_be_named(gitmachine: CommandLine) -> None:
    gitmachine("start", "--session", "a")
    gitmachine("start", "--session", "b")
    assert "a, b" in gitmachine("status", exits=66).stderr
    gitmachine("stop", "a")
    gitmachine("stop", "b")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("status",), 66, "no session is live"),
        (("status", "nobody"), 66, "no session 'nobody'"),
        (("run", "--session", "-x", "true"), 64, "session"),
        (("run", "--session", "a..b", "true"), 64, "a..b"),
        (("run", "--repo", "/nowhere/at/all", "true"), 66, "/nowhere/at/all"),
        (("run", "--repo", "http://127.0.0.1:1/x.git", "true"), 75, "127.0.0.1"),
        (("run", "--repo", "ext::sh -c id", "true"), 64, "remote helper"),
        (("run", "--base", "no-such", "true"), 66, "no-such"),
        (("run",), 2, "COMMAND"),
        (("run", "--timeout", "0", "true"), 2, "timeout"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_bad_input_is_said_in_a_line_and_leaves_nothing(
    gitmachine: CommandLine, words: tuple[str, ...], code: int, said: str
) -> None:
    assert said in gitmachine(*words, exits=code).stderr
    assert not list(Path(os.environ["GITMACHINE_HOME"]).glob("machines/*"))


def test_outside_of_a_checkout_a_repository_has_to_be_named(gitmachine: CommandLine, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = replace(gitmachine, directory=elsewhere)("run", "true", exits=64)
    assert "--repo" in done.stderr


def test_an_error_is_json_too(gitmachine: CommandLine) -> None:
    answer = gitmachine.json("status", "nobody", exits=66)
    assert answer["error"]["type"] == "SessionNotFound"
    assert answer["exit_code"] == 66


def test_debug_shows_where_an_error_came_from(gitmachine: CommandLine) -> None:
    with gitmachine.begin("--debug", "status", "nobody") as process:
        _, said = process.communicate(timeout=60)
    assert "Traceback" in said


def test_a_state_directory_that_cannot_be_made_is_named(gitmachine: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = gitmachine("run", "true", exits=64, GITMACHINE_HOME=str(tmp_path / "file" / "state"))
    assert str(tmp_path / "file" / "state") in done.stderr


def test_doctor_finds_that_machines_work_here(gitmachine: CommandLine) -> None:
    assert "local machines work here" in gitmachine("doctor").stdout
    answer = gitmachine.json("doctor")
    assert answer["usable"]
    assert {"git", "bubblewrap", "namespaces", "pause", "limits", "machine"} <= {c["name"] for c in answer["checks"]}


def test_doctor_says_how_to_mend_a_state_directory(gitmachine: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = gitmachine("doctor", exits=1, GITMACHINE_HOME=str(tmp_path / "file" / "state"))
    assert "FAILS  state directory" in done.stdout
    assert "GITMACHINE_HOME" in done.stdout


def test_the_demo_shows_everything_and_leaves_nothing(gitmachine: CommandLine) -> None:
    before = set(Path(gitmachine.env["HOME"]).glob(".gitmachine-demo-*"))
    said = gitmachine("demo").stdout
    for line in ("started", "command started", "+Written in a sandbox.", "committed", "paused at", "pushed", "stopped"):
        assert line in said
    assert "no connection" in said
    assert "No such file" in said or "Permission denied" in said
    assert "(demo) Write down where this was written" in said
    assert set(Path(gitmachine.env["HOME"]).glob(".gitmachine-demo-*")) == before


def test_the_demo_works_with_its_reader_gone(gitmachine: CommandLine) -> None:
    with gitmachine.begin("demo") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0
    temporary = Path(os.environ["TMPDIR"])
    wait_until(lambda: not list(temporary.glob("gitmachine-demo-*")))


def test_a_bare_repository_is_a_place_to_work(gitmachine: CommandLine, checkout: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(checkout), str(bare))
    replace(gitmachine, directory=bare)("run", "--session", "s", "echo x > new")
    assert git(bare, "show", "s:new") == "x"
    shutil.rmtree(bare)
