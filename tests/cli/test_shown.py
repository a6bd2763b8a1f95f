"""What the README shows of the command line is what it prints."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.conftest import CommandLine

README = Path(__file__).parents[2] / "README.md"


def _masked(text: str) -> str:
    text = re.sub(r"gitmachine/\d{4}-\d\d-\d\d-[0-9a-f]{6}", "SESSION", text)
    return re.sub(r"pushed to \S+", "pushed to REPOSITORY", re.sub(r"\b[0-9a-f]{12}\b", "SHA", text))


def test_the_first_command_prints_what_the_readme_shows(gitmachine: CommandLine) -> None:
    shown = README.read_text().partition("```console\n")[2].partition("```")[0]
    command, _, expected = shown.partition("\n")
    assert command == '$ gitmachine run -m "Say goodbye" -- sed -i s/hello/goodbye/ hello.txt'
    done = gitmachine("run", "-m", "Say goodbye", "--", "sed", "-i", "s/hello/goodbye/", "hello.txt")
    assert _masked(done.stderr) == _masked(expected)
