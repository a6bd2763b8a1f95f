"""Sessions on E2B's protocol, with a real remote."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gitmachine import E2BMachine, GitMachine
from tests.e2b_endpoint import E2BEndpoint
from tests.support.e2b import e2b, e2b_endpoint
from tests.support.git_server import TOKEN, GitServer, Repository, git_server

__all__ = ["e2b", "e2b_endpoint", "git_server"]


@pytest.fixture
def project(git_server: GitServer) -> Repository:
    return git_server.repository()


@pytest.fixture
async def gm(e2b: E2BEndpoint, project: Repository) -> AsyncIterator[GitMachine]:
    """A session that runs."""
    gm = GitMachine(E2BMachine(), project.url, TOKEN, session="fix-1")
    await gm.start()
    yield gm
    await gm.machine.stop()
