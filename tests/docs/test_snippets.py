"""Every snippet of the guides runs as it stands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from tests import leaks
from tests.support.checkouts import checkout as checkout

SNIPPETS = Path(__file__).parents[2] / "docs" / "snippets"
SAID = {
    "first_session.sh": ("session gitmachine/", "Say goodbye", "+everybody", "1  exit 0", "hello\neverybody"),
    "operating.sh": ("local machines work here", "nightly  stopped", "entries of nightly are as they were written"),
    "providers.py": ("bubblewrap allow-list", "the network policy refused example.org:80"),
    "events.py": ("heard: Be seen", "2 command_started ['command', 'id']", "committed ['message', 'sha', 'withheld']"),
    "errors.py": ("vault .github/workflows/ci.yml\nremote",),
}
_LIMIT_S = 100


def test_every_snippet_is_run_here() -> None:
    assert {path.name for path in SNIPPETS.iterdir() if path.is_file()} == {*SAID, "mcp.json"}


@pytest.fixture
def project(checkout: Path, session_dir: Path) -> Iterator[Path]:
    """A checkout where the user that root's machines run as can pass: a snippet makes a state directory in it."""
    place = Path(tempfile.mkdtemp(prefix="guide-", dir=session_dir))
    place.chmod(0o711)
    shutil.copytree(checkout, place / "project", symlinks=True)
    (place / "project").chmod(0o711)
    yield place / "project"
    leaks.remove_tree(place)


@pytest.mark.usefixtures("state_dir")
@pytest.mark.parametrize("name", SAID)
def test_a_snippet(name: str, project: Path) -> None:
    path = SNIPPETS / name
    words = ["/bin/sh", "-eu", str(path)] if name.endswith(".sh") else [sys.executable, "-W", "error", str(path), "."]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        words, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=_LIMIT_S
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not [words for words in SAID[name] if words not in said], said


async def test_the_configuration_for_mcp_clients_starts_a_server(state_dir: Path, checkout: Path) -> None:
    (server,) = json.loads((SNIPPETS / "mcp.json").read_text())["mcpServers"].values()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = StdioServerParameters(
        command=server["command"], args=server["args"], cwd=checkout,
        env={"PATH": path, "HOME": str(Path.home()), "GITMACHINE_HOME": str(state_dir), "TMPDIR": os.environ["TMPDIR"]},
    )  # fmt: skip
    async with Client(started) as client:
        ran = await client.call_tool("run", {"command": "cat hello.txt"})
        assert "hello" in "".join(part.text for part in ran.content if part.type == "text")
        await client.call_tool("stop", {"push": False})
