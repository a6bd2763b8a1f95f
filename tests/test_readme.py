"""The README tells the truth: its programs are files that run, its numbers are the code's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gitmachine.cli.app import cli
from gitmachine.cli.exits import Exit

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
