"""The pictures of the README are of this program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from picture.__main__ import COMMANDS

PROJECT = Path(__file__).parents[1]
PICTURES = ("session.svg", "watch.svg")


def words(path: Path) -> str:
    """The text of a picture, a line a line, without what is another each time."""
    lines = ["".join(element.itertext()) for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    return re.sub(r"\b[0-9a-f]{7,12}\b", "SHA", re.sub(r"\d+\.\d+ s", "TIME", "\n".join(lines)))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pictures")
    command = [sys.executable, "-m", "picture", str(target)]
    done = subprocess.run(command, cwd=PROJECT, env=os.environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return target


def test_the_recording_is_what_the_commands_print(drawn: Path) -> None:
    kept = words(PROJECT / "picture" / "session.svg")
    assert words(drawn / "session.svg") == kept
    assert [line[2:] for line in kept.splitlines() if line.startswith("$ ")] == list(COMMANDS)


def test_the_view_is_what_it_looks_like(drawn: Path) -> None:
    for path in (drawn / "watch.svg", PROJECT / "picture" / "watch.svg"):
        shown = words(path).replace("\u00a0", " ")
        for expected in ("fix-greeting", "◐ paused", "○ ended", " ... ok", "committed", "p", "Pause"):
            assert expected in shown, expected


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_needs_nothing_from_elsewhere_and_names_no_place(name: str) -> None:
    text = (PROJECT / "picture" / name).read_text()
    assert not re.search(r"@font-face|<script|href=|url\(.?http|/tmp/|/home/", text)
