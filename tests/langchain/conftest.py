"""Sessions, a real remote and a chat model that replays a script: whole agents without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gitmachine import GitMachine, LocalMachine, sync
from tests.langchain.module_state import module_state
from tests.support.git_server import TOKEN, GitServer, Repository, git_server

__all__ = ["git_server", "module_state"]


@pytest.fixture
def project(git_server: GitServer) -> Repository:
    """A repository with a test that fails: `add` subtracts."""
    made = git_server.repository()
    made.commit(
        "main",
        {
            "calc.py": "def add(a, b):\n    return a - b\n",
            "check.py": "from calc import add\nassert add(2, 2) == 4, add(2, 2)\nprint('ok')\n",
        },
        "Add, or so it says",
    )
    return made


@pytest.fixture
async def gm(project: Repository, state_dir: Path) -> AsyncIterator[GitMachine]:
    async with GitMachine(LocalMachine(), project.url, TOKEN, session="fix-1") as session:
        yield session


@pytest.fixture
def plain(project: Repository, state_dir: Path) -> Iterator[sync.GitMachine]:
    """The same for tests without await."""
    with sync.GitMachine(LocalMachine(), project.url, TOKEN, session="fix-1") as session:
        yield session
