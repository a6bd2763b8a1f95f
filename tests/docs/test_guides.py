"""The guides: they build, every link leads somewhere, nothing public is missing, and what they show is what runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from docs import generated

PROJECT = Path(__file__).parents[2]
PAGES = sorted((PROJECT / "docs").glob("*.md"))
_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INCLUDED = re.compile(r'--8<-- "((?:cookbook|docs/snippets)/[\w.]+)(?::(\w+))?"\n')
_BUILD_LIMIT_S = 100


def test_the_guides_build_strictly_and_are_whole(tmp_path: Path) -> None:
    """One test, because one build is enough for all of it."""
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=_BUILD_LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stdout + done.stderr
    pages = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    assert len(pages) == len(PAGES) + 1  # and the page for what is not found
    assert not _missing_from(pages[tmp_path / "api" / "index.html"])
    assert not _dead_links(pages, tmp_path)
    assert not _fetched_from_elsewhere(pages, tmp_path)
    assert not [path for path, text in pages.items() if re.search(r"--8&lt;--|generated:|\]\[\w", text)]
    commands = pages[tmp_path / "cli" / "index.html"]
    assert not [name for name in generated.command_names() if f'id="gitmachine-{name}"' not in commands]


def _missing_from(reference: str) -> list[str]:
    """Public names, and public members of the session, that have no heading of their own."""
    names = [f"{module}.{name}" for module, names in generated.public_names().items() for name in names]
    names += [f"gitmachine.GitMachine.{name}" for name in generated.session_calls()]
    return [name for name in names if f'id="{name}"' not in reference]


def _dead_links(pages: dict[Path, str], root: Path) -> list[tuple[str, str]]:
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    dead = []
    for page, text in pages.items():
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text):
            target, _, anchor = unquote(link).partition("#")
            if re.match(r"\w+:", target):
                continue
            path = root / target.lstrip("/") if target.startswith("/") else page.parent / target if target else page
            path = Path(os.path.normpath(path / "index.html" if path.is_dir() else path))
            if not path.exists() or (anchor and path in anchors and anchor not in anchors[path]):
                dead.append((str(page.relative_to(root)), link))
    return dead


def _fetched_from_elsewhere(pages: dict[Path, str], root: Path) -> list[tuple[str, str]]:
    """What a browser would load from the network: links that a reader may click are none of it."""
    by_page = r'<(?:script|link|img|iframe|source|video)\b[^>]*\b(?:src|href)="?((?:https?:)?//[^" >]+)'
    by_style = r"(?:url\(|@import )[\"']?((?:https?:)?//\S+)"
    found = [(path.name, link) for path, text in pages.items() for link in re.findall(by_page, text)]
    return found + [
        (path.name, link) for path in root.rglob("*.css") for link in re.findall(by_style, path.read_text())
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_a_page_shows_is_a_file_that_runs(page: Path) -> None:
    """Fences hold an include of the cookbook or of a snippet; `text` is for drawings."""
    fences = [(language, body) for language, body in _FENCE.findall(page.read_text()) if language != "text"]
    assert not [body for _, body in fences if not _INCLUDED.fullmatch(body)]
    for _, body in fences:
        path, section = _INCLUDED.fullmatch(body).groups()  # type: ignore[union-attr]
        text = (PROJECT / path).read_text()
        assert section is None or text.count(f"--8<-- [start:{section}]") == text.count(f"[end:{section}]") == 1


def test_every_error_and_its_remedy_is_on_the_page() -> None:
    page = (PROJECT / "docs" / "troubleshooting.md").read_text()
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert named == {kind.__name__ for kind in generated.error_classes()} - {"GitMachineError"}
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    assert not [row for row in rows if len(row) < 3]


def test_the_messages_that_are_explained_are_ours() -> None:
    """Each example of a message, as far as it has no gap, stands in the source."""
    source = "\n".join(path.read_text() for path in (PROJECT / "gitmachine").rglob("*.py"))
    flat = re.sub(r"[\"'] *\n\s*f?[\"']", "", source)
    page = (PROJECT / "docs" / "troubleshooting.md").read_text()
    shown = re.findall(r"^\| (?:`\w+`)? ?\| `([^`]+)` \|", page, re.MULTILINE)
    parts = [part.strip(" :;") for message in shown for part in re.split(r"…|\b\d+\b", message)]
    assert len(shown) > 15
    assert not [part for part in parts if part not in flat]
