"""What the tests of the host side share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gitmachine import settings
from gitmachine.git.remote import parse_remote
from gitmachine.git.vault import Vault
from tests.support.git_server import TOKEN, GitServer, Repository, git_server
from tests.support.maker import Maker

__all__ = ["git_server"]

OpenVault = Callable[[Repository], Awaitable[Vault]]


@pytest.fixture
def project(git_server: GitServer) -> Repository:
    return git_server.repository()


@pytest.fixture
def open_vault(state_dir: Path) -> OpenVault:
    """Opens the vault of a repository of the server, with the right token."""

    async def opened(repository: Repository) -> Vault:
        return await Vault.open(settings.load(), parse_remote(repository.url, TOKEN))

    return opened


@pytest.fixture
async def vault(project: Repository, open_vault: OpenVault) -> Vault:
    """The vault of `project`, fetched."""
    made = await open_vault(project)
    await made.fetch()
    return made


@pytest.fixture
def maker(project: Repository, state_dir: Path) -> Maker:
    """Stands for a machine: a clone of `project` that makes commits and packs."""
    return Maker(state_dir / "maker", project)
