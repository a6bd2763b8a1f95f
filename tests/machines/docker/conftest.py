"""A running container for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gitmachine import DockerMachine
from tests.support.docker_engine import IMAGE, DockerEngine


@pytest.fixture
async def machine(docker: DockerEngine) -> AsyncIterator[DockerMachine]:
    del docker  # made the one in force
    started = DockerMachine(IMAGE, pull="never")
    await started.start()
    try:
        yield started
    finally:
        await started.stop()
