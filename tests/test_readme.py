"""The README tells the truth: its programs are files that run, its numbers are the code's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gitmachine.cli.app import cli
from gitmachine.cli.exits import Exit
from gitmachine.events import TYPES
from gitmachine.project.file import parse
from tests.newcomer import commands
from tests.support.checkouts import checkout as checkout

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
DOCUMENTS = sorted(PROJECT.glob("*.md"))


def test_every_program_is_a_file_of_the_cookbook() -> None:
    programs = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    texts = [path.read_text() for path in (PROJECT / "cookbook").glob("*.py")]
    files = {text.partition("\n# It prints:\n")[0] for text in texts}
    assert programs
    assert not [program for program in programs if program not in files]


def test_the_first_program_is_short() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    body = program.partition("async def main")[2].partition("if __name__")[0]
    assert len([line for line in body.splitlines() if line.strip()]) <= 12


def test_every_exit_code_is_in_the_table() -> None:
    table = [f"| {number.value} | {number.meaning} |" for number in Exit]
    assert [line for line in README.splitlines() if re.match(r"\| \d+ \|", line)] == table


def test_every_command_is_named() -> None:
    section = README.partition("## The command line")[2]
    assert not [name for name in cli.commands if f"`{name}`" not in section]


def test_every_command_that_the_text_gives_is_one() -> None:
    given = re.findall(r"`gitmachine ([a-z]+)[^`]*`", README)
    assert given
    assert not [name for name in given if name not in cli.commands]


def test_every_event_is_in_the_table() -> None:
    table = README.partition("| about | events |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(TYPES)


@pytest.mark.usefixtures("state_dir")
def test_the_console_shows_what_its_commands_print(checkout: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        said = ""
        for command in [line[2:] for line in block.splitlines() if line.startswith("$ ")]:
            done = _run(command, checkout, PATH=path)
            said += f"$ {command}\n{done}"
        assert _general(said.replace(str(checkout), "/home/alice/project")) == _general(block)


@pytest.mark.usefixtures("state_dir")
def test_the_refusals_are_as_shown(checkout: Path) -> None:
    shown = README.partition("## What a command cannot do")[2].partition("```text\n")[2].partition("```")[0]
    said = _run(f"{sys.executable} {PROJECT / 'cookbook/refusals.py'} {checkout}", checkout, HOME="/home/alice")
    assert said == shown


def test_what_a_repository_may_ask_for_is_as_shown() -> None:
    (asked,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    project = parse(asked.encode())
    assert (project.setup, project.network, project.env) == (
        ["pip install --target ~/deps -r requirements.txt"], ["pypi.org", "files.pythonhosted.org"], ["CI"],
    )  # fmt: skip
    assert (project.limits.memory, project.limits.lifetime) == (4 * 1024**3, 7200)


def test_the_two_commands_are_there() -> None:
    """That they do what they say is shown by `make newcomer`, which is these very commands in a clean clone."""
    two = commands(README, "sh")
    assert two == ["make demo", "make install"]
    for command in two:
        assert subprocess.run([*command.split(), "--dry-run"], cwd=PROJECT, capture_output=True).returncode == 0
    assert commands(README, "console")


def _run(command: str, directory: Path, **env: str) -> str:
    done = subprocess.run(
        command, shell=True, cwd=directory, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def _general(text: str) -> str:
    """Without what is another each time: the names that are made, and digests."""
    return re.sub(r"\b[0-9a-f]{12}\b", "SHA", re.sub(r"\d{4}-\d\d-\d\d-[0-9a-f]{6}", "NAME", text))


def test_the_sentence_is_the_projects() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert README.splitlines()[2] == project["description"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    assert not [target for target in targets if not target.startswith("http") and not (PROJECT / target).exists()]


def test_what_the_architecture_names_is_there() -> None:
    drawn = (PROJECT / "ARCHITECTURE.md").read_text().partition("```text\n")[2].partition("```")[0]
    names = {path.name for house in ("gitmachine", "docs") for path in (PROJECT / house).rglob("*.py")}
    assert not [name for name in re.findall(r"(\w+\.py)", drawn) if name not in names]


def test_what_shows_a_promise_is_there() -> None:
    """Files, directories and tests that the table of the tests names."""
    table = (PROJECT / "tests" / "README.md").read_text()
    shown = re.findall(r"`([\w/]+(?:\.py(?:::\w+)?|/))`", table)
    assert len(shown) > 40
    for path, _, name in (one.partition("::") for one in shown):
        file = PROJECT / "tests" / path
        assert file.exists(), path
        assert not name or f"def {name}(" in file.read_text(), f"{path}::{name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_nobody_is_sent_to_somebody_elses_package(document: Path) -> None:
    assert not re.search(r"(pip|add|tool) install gitmachine\b", document.read_text())
