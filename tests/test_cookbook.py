"""Every program of the cookbook runs as it stands, and does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkouts import checkout as checkout
from tests.support.checkouts import git

COOKBOOK = Path(__file__).parents[1] / "cookbook"
SAID = {
    "quickstart.py": ("+goodbye", "exit 0 stdout 1", "committed"),
    "refusals.py": ("No such file or directory", "Connection refused", "Read-only file system"),
    "fire_and_forget.py": (),
    "watch_events.py": ("1 started", "command 1 ended with 0", "'Be seen' is", "the remote has watched", "stopped"),
    "pause_and_come_back.py": ("paused\n", "running and still counting", "remote"),
    "custom_provider.py": ("from a provider of ten members",),
    "undo.py": ("3 exit 0 3 changed: rm -r", "#1 plan\n#1 build\n#2 test", "notes.txt | 1 +", "intact"),
    "try_several_ways.py": ("way-1 exit 1 +1 -1", "way-2 exit 0 +1 -1", "way-3 exit 1 +1 -1"),
    "lost_machine.py": ("precious", "not restored: processes", "remote"),
    "mcp_client.py": ("run: [exit code 0]", "hello.txt +1 -1", "Ended; "),
    "bring_it_home.py": ("changed: Makefile work.txt\nkept out: .env", "look first: Makefile", "on branch theirs"),
    "sync_quickstart.py": ("hello.txt | 2 +-", "committed"),
    "langchain_agent.py": ("tool: exit code 0\ngoodbye", "tool: committed", "ai: I changed the greeting."),
    "langchain_threads.py": ("monday gitmachine/monday remote", "tuesday gitmachine/tuesday nothing"),
}
BRANCHES = {
    "quickstart.py": ("fix-greeting", "hello.txt", "goodbye"),
    "watch_events.py": ("watched", "watched.txt", "seen"),
    "pause_and_come_back.py": ("patient", "work.txt", "work"),
    "sync_quickstart.py": ("without-await", "hello.txt", "goodbye"),
    "langchain_agent.py": ("by-langchain", "hello.txt", "goodbye"),
    "langchain_threads.py": ("gitmachine/monday", "note.txt", "noted"),
    "custom_provider.py": ("anywhere", "mine.txt", "from a provider of ten members"),
    "fire_and_forget.py": ("long-task", "result.txt", "done"),
    "undo.py": ("undone", "notes.txt", "plan\nbuild\ntest"),
    "try_several_ways.py": ("way-2", "hello.txt", "good day"),
    "lost_machine.py": ("survivor", "work.txt", "precious"),
    "mcp_client.py": ("by-mcp", "hello.txt", "hello from MCP"),
    "bring_it_home.py": ("theirs", "work.txt", "work"),
}


def _run(program: str, *words: str) -> str:
    command = [sys.executable, "-W", "error", str(COOKBOOK / program), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


def test_every_program_is_run_here() -> None:
    assert {path.name for path in COOKBOOK.glob("*.py")} == set(SAID)


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize("program", [name for name, said in SAID.items() if said])
def test_a_program_of_the_cookbook(program: str, checkout: Path) -> None:
    said = _run(program, str(checkout))
    assert not [words for words in SAID[program] if words not in said], said
    if program in BRANCHES:
        branch, path, content = BRANCHES[program]
        assert git(checkout, "show", f"{branch}:{path}") == content


@pytest.mark.usefixtures("state_dir")
def test_the_readme_shows_what_the_first_program_prints(checkout: Path) -> None:
    shown = (COOKBOOK.parent / "README.md").read_text().partition("it prints:\n\n```text\n")[2].partition("```")[0]
    said = _run("quickstart.py", str(checkout))
    assert re.sub("[0-9a-f]{40}", "SHA", said) == re.sub("[0-9a-f]{40}", "SHA", shown)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("state_dir")
def test_the_same_goes_from_the_shell(checkout: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", str(COOKBOOK / "from_the_shell.sh")],
        cwd=checkout, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("2  exit 0", "rm -r src hello.txt", "idea     exit 1", "other    exit 0", "+goodbye\n+everybody"):
        assert said in done.stdout, done.stdout
    assert "the working tree is as entry 1 left it" in done.stderr


@pytest.mark.usefixtures("state_dir")
def test_fire_and_forget_is_two_programs(checkout: Path) -> None:
    machine = _run("fire_and_forget.py", "start", str(checkout)).strip()
    assert _run("fire_and_forget.py", "finish", machine) == "exit 0\npushed\n"
    branch, path, content = BRANCHES["fire_and_forget.py"]
    assert git(checkout, "show", f"{branch}:{path}") == content
