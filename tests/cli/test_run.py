"""`gitmachine run`, whose exit code and output are the command's."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

from tests.cli.conftest import CommandLine, git


def test_the_exit_code_is_the_commands(gitmachine: CommandLine) -> None:
    gitmachine("run", "--", "sh", "-c", "exit 7", exits=7)


def test_output_keeps_its_channels(gitmachine: CommandLine) -> None:
    done = gitmachine("run", "echo out; echo err >&2")
    assert done.stdout == "out\n"
    assert "err\n" in done.stderr


def test_one_word_is_a_line_for_the_shell(gitmachine: CommandLine) -> None:
    assert gitmachine("run", "cat hello.txt | tr a-z A-Z").stdout == "HELLO\n"


def test_several_words_are_not_read_by_a_shell(gitmachine: CommandLine) -> None:
    assert gitmachine("run", "--", "printf", "%s|", "a b", "$(id)", "it's").stdout == "a b|$(id)|it's|"


def test_work_is_committed_and_pushed_into_the_checkouts_repository(gitmachine: CommandLine, checkout: Path) -> None:
    gitmachine("run", "--session", "fix", "-m", "Say more", "echo more >> hello.txt")
    assert git(checkout, "show", "fix:hello.txt") == "hello\nmore"
    assert git(checkout, "log", "-1", "--format=%s", "fix") == "Say more"
    assert git(checkout, "status", "--porcelain") == ""


def test_a_subdirectory_belongs_to_its_checkout(gitmachine: CommandLine, checkout: Path) -> None:
    assert replace(gitmachine, directory=checkout / "src")("run", "ls").stdout == "hello.txt\nsrc\n"


def test_a_repository_can_be_named(gitmachine: CommandLine, checkout: Path, tmp_path: Path) -> None:
    elsewhere = replace(gitmachine, directory=tmp_path)
    assert elsewhere("run", "--repo", str(checkout), "cat hello.txt").stdout == "hello\n"


def test_a_session_that_was_started_is_ended(gitmachine: CommandLine) -> None:
    gitmachine("run", "true")
    assert gitmachine.json("ls")["sessions"] == []


def test_a_live_session_is_used_and_left_live(gitmachine: CommandLine) -> None:
    gitmachine("start", "--session", "s")
    gitmachine("run", "--session", "s", "echo kept > ../beside")
    assert gitmachine("run", "--session", "s", "cat ../beside").stdout == "kept\n"
    assert gitmachine.json("status", "s")["state"] == "running"
    gitmachine("stop", "s")


def test_a_paused_session_is_used_and_left_paused(gitmachine: CommandLine) -> None:
    gitmachine("start", "--session", "s")
    gitmachine("pause", "s")
    assert gitmachine("run", "--session", "s", "cat hello.txt").stdout == "hello\n"
    assert gitmachine.json("ls")["sessions"][0]["state"] == "paused"
    gitmachine("stop", "s")


def test_keep_leaves_the_session_live(gitmachine: CommandLine) -> None:
    gitmachine("run", "--session", "s", "--keep", "true")
    assert gitmachine.json("status", "s")["state"] == "running"
    gitmachine("stop")


def test_no_push_leaves_the_work_in_the_vault_for_later(gitmachine: CommandLine, checkout: Path) -> None:
    answer = gitmachine.json("run", "--session", "s", "--no-push", "echo x > new")
    assert answer["push"]["where"] == "vault"
    assert git(checkout, "branch", "--list", "s") == ""
    assert gitmachine("run", "--session", "s", "cat new").stdout == "x\n"
    assert git(checkout, "show", "s:new") == "x"


def test_json_is_one_object_with_the_output_in_it(gitmachine: CommandLine) -> None:
    done = gitmachine("run", "--json", "echo out; echo err >&2; exit 3", exits=3)
    answer = json.loads(done.stdout)
    assert (answer["stdout"], answer["stderr"], answer["exit_code"]) == ("out\n", "err\n", 3)
    assert answer["push"]["where"] == "nothing"
    assert answer["state"] == "stopped"


def test_a_timeout_ends_the_command_and_says_so(gitmachine: CommandLine) -> None:
    done = gitmachine("run", "--timeout", "0.5", "echo before; sleep 600", exits=124)
    assert done.stdout == "before\n"
    assert "ended after 0.5 s" in done.stderr


def test_environment_is_given_by_value_or_by_name(gitmachine: CommandLine) -> None:
    done = gitmachine("run", "--env", "A=1 2", "--env", "B", 'echo "$A/$B/$C"', B="from here", C="never")
    assert done.stdout == "1 2/from here/\n"


def test_a_variable_that_is_not_set_is_refused(gitmachine: CommandLine) -> None:
    assert "NOT_SET is not set here" in gitmachine("run", "--env", "NOT_SET", "true", exits=2).stderr


def test_the_network_can_be_allowed_and_not_changed_later(gitmachine: CommandLine) -> None:
    gitmachine("start", "--session", "s", "--network", "host")
    done = gitmachine("run", "--session", "s", "--network", "none", "true", exits=64)
    assert "cannot be changed" in done.stderr
    gitmachine("stop", "s")


def test_a_rejected_push_shows_though_the_command_did_well(gitmachine: CommandLine, checkout: Path) -> None:
    hook = checkout / ".git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    done = gitmachine("run", "--session", "s", "echo x > new", exits=65)
    assert done.stderr.count("not today") == 1
    assert gitmachine.json("ls")["sessions"][0]["state"] == "running"
    gitmachine("stop", "s", "--no-push")


def test_a_reader_that_goes_away_ends_the_command(gitmachine: CommandLine) -> None:
    with gitmachine.begin("run", "--session", "s", "yes") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "y\n"
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=60) == 141
    assert "Traceback" not in said
    assert "Exception" not in said
    assert gitmachine.json("ls")["sessions"] == []


def test_nobody_reading_the_notes_harms_nothing(gitmachine: CommandLine, checkout: Path) -> None:
    with gitmachine.begin("run", "--session", "s", "echo x > new; echo done") as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.stdout is not None
        assert process.stdout.read() == "done\n"
        assert process.wait(timeout=60) == 0
    assert git(checkout, "show", "s:new") == "x"


def test_help_is_there_without_a_state_directory(gitmachine: CommandLine) -> None:
    assert "COMMAND" in gitmachine("run", "--help", GITMACHINE_HOME="/proc/nowhere").stdout


def test_the_process_list_of_the_host_shows_no_environment_value(gitmachine: CommandLine) -> None:
    done = gitmachine("start", "--session", "s", "--env", "SECRET_VALUE", SECRET_VALUE="correct-horse-battery")
    assert done.stdout == "s\n"
    listing = subprocess.run(["ps", "axww"], check=True, capture_output=True, text=True).stdout
    assert "correct-horse-battery" not in listing
    assert gitmachine("run", "--session", "s", "echo $SECRET_VALUE").stdout == "correct-horse-battery\n"
    gitmachine("stop", "s")


def test_a_held_push_says_how_to_let_it_through(gitmachine: CommandLine, checkout: Path) -> None:
    change = "mkdir -p .github/workflows; echo x > .github/workflows/ci.yml"
    done = gitmachine("run", "--session", "s", change, exits=65)
    assert "gitmachine push --allow .github/workflows/ci.yml" in done.stderr
    assert "still live" in done.stderr
    gitmachine("push", "s", "--allow", ".github/workflows/ci.yml")
    gitmachine("stop", "s")
    assert git(checkout, "show", "s:.github/workflows/ci.yml") == "x"
