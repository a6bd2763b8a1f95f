"""Every program of the cookbook runs as it stands, and prints what it says at its end."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkouts import checkout as checkout
from tests.support.checkouts import git
from tests.support.e2b import e2b as e2b
from tests.support.e2b import e2b_endpoint as e2b_endpoint

COOKBOOK = Path(__file__).parents[1] / "cookbook"
PARTS = {"scripted_model.py", "custom_provider_command.py", "custom_provider_test.py"}
"""What programs are made of: used by those that import them."""
PROGRAMS = sorted(path.name for path in COOKBOOK.glob("*.py") if path.name not in PARTS)
BRANCHES = {
    "quickstart.py": ("fix-greeting", "hello.txt", "goodbye"),
    "watch_events.py": ("watched", "watched.txt", "seen"),
    "pause_and_come_back.py": ("patient", "work.txt", "work"),
    "sync_quickstart.py": ("without-await", "hello.txt", "goodbye"),
    "langchain_agent.py": ("by-langchain", "hello.txt", "goodbye"),
    "langchain_threads.py": ("gitmachine/monday", "note.txt", "noted"),
    "langgraph_approval.py": ("approved", "hello.txt", "bye"),
    "deepagents_agent.py": ("deep", "hello.txt", "goodbye"),
    "custom_provider.py": ("anywhere", "mine.txt", "from a provider of ten members"),
    "fire_and_forget.py": ("long-task", "result.txt", "done"),
    "undo.py": ("undone", "notes.txt", "plan\nbuild\ntest"),
    "try_several_ways.py": ("way-2", "hello.txt", "good day"),
    "many_sessions.py": ("greet-moon", "hello.txt", "hello\nmoon"),
    "lost_machine.py": ("survivor", "work.txt", "precious"),
    "after_a_crash.py": ("unlucky", "work.txt", "first\nsecond"),
    "mcp_client.py": ("by-mcp", "hello.txt", "hello from MCP"),
    "bring_it_home.py": ("theirs", "work.txt", "work"),
    "from_local_to_e2b.py": ("anywhere", "places.txt", "written in a bubblewrap\nwritten in a microvm"),
}
_SAME = ((r"\b[0-9a-f]{10,40}\b", "SHA"), (r"\b\d+\.\d+ s\b", "SECONDS"))
"""What differs from run to run."""


def _without_chance(text: str) -> str:
    for pattern, word in _SAME:
        text = re.sub(pattern, word, text)
    return text


def _shown(program: str) -> str:
    """The transcript at the end of a program."""
    comment = (COOKBOOK / program).read_text().partition("\n\n# It prints:\n#\n")[2]
    return re.sub(r"^#(?:     )?", "", comment, flags=re.MULTILINE)


def _run(program: str, *words: str) -> str:
    command = [sys.executable, "-W", "error", str(COOKBOOK / program), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    killed = done.returncode == -9
    assert done.returncode == 0 or killed, done.stdout + done.stderr
    assert not done.stderr
    said = re.sub(r"[ ]+$", "", done.stdout, flags=re.MULTILINE)
    return said + ("Killed\n" if killed else "")


def _played(program: str, transcript: str, checkout: Path) -> str:
    """What a terminal shows when the commands of a transcript are typed in."""
    lines = []
    for command in re.findall(rf"^\$ python ({re.escape(program)} .*)$", transcript, re.MULTILINE):
        words = [str(checkout) if word in ("REPOSITORY", "CHECKOUT") else word for word in shlex.split(command)[1:]]
        lines += [f"$ python {command}\n", _run(program, *words)]
    assert lines, f"cookbook/{program} does not say what it prints"
    said = "".join(lines).replace(str(checkout), "/home/alice/project")
    return said.replace(str(Path.home() / ".ssh"), "/home/alice/.ssh")


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_prints_what_it_says(program: str, checkout: Path, request: pytest.FixtureRequest) -> None:
    if "e2b" in program:
        request.getfixturevalue("e2b")
    shown = _shown(program)
    assert _without_chance(_played(program, shown, checkout)) == _without_chance(shown)
    if program in BRANCHES:
        branch, path, content = BRANCHES[program]
        assert git(checkout, "show", f"{branch}:{path}") == content


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_short(program: str) -> None:
    assert len((COOKBOOK / program).read_text().partition("\n# It prints:")[0].splitlines()) < 60


def test_the_index_has_each_program_under_its_own_question() -> None:
    rows = dict(re.findall(r"^\| (.+?) \| \[`(.+?)`\]\(\2\) \|", (COOKBOOK / "README.md").read_text(), re.MULTILINE))
    questions = {name: question for question, name in rows.items()}
    asked = {program: (COOKBOOK / program).read_text().removeprefix('"""') for program in PROGRAMS}
    asked["from_the_shell.sh"] = (COOKBOOK / "from_the_shell.sh").read_text().partition("# ")[2]
    assert questions == {program: text.partition("?")[0] + "?" for program, text in asked.items()}


@pytest.mark.usefixtures("state_dir")
def test_the_readme_shows_what_the_first_program_prints() -> None:
    shown = (COOKBOOK.parent / "README.md").read_text().partition("it prints:\n\n```text\n")[2].partition("```")[0]
    said = _shown("quickstart.py").partition("\n")[2]  # which the program itself is held to, above
    assert _without_chance(said) == _without_chance(shown)


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
