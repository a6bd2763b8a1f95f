"""A running local machine for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gitmachine.machines.local import LocalMachine


@pytest.fixture
async def machine(state_dir: Path) -> AsyncIterator[LocalMachine]:
    del state_dir  # made the one in force
    started = LocalMachine()
    await started.start()
    try:
        yield started
    finally:
        await started.stop()
