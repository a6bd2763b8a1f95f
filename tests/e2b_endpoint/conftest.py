"""One endpoint for all tests here, and a sandbox for each that wants one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2b import AsyncSandbox

from tests.e2b_endpoint import E2BEndpoint, nothing

PYQWEST_REST_S = 0.5
"""pyqwest 0.12 aborts the interpreter in some runs that end right after a request; not one in 144 after this long."""


@pytest.fixture(scope="session")
def shared_endpoint(session_dir: Path) -> Iterator[E2BEndpoint]:
    with E2BEndpoint() as endpoint:
        yield endpoint
    time.sleep(PYQWEST_REST_S)


@pytest.fixture
def endpoint(shared_endpoint: E2BEndpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[E2BEndpoint]:
    """The endpoint, with nothing recorded and nothing injected, made the SDK's by its environment."""
    for name, value in shared_endpoint.environment.items():
        monkeypatch.setenv(name, value)
    shared_endpoint.forget()
    yield shared_endpoint
    shared_endpoint.inject(nothing)
    shared_endpoint.delay(0)
    for sandbox_id in shared_endpoint.sandboxes:
        shared_endpoint.kill(sandbox_id)


@pytest.fixture
async def sandbox(endpoint: E2BEndpoint) -> AsyncSandbox:
    """A running sandbox; its creation is not among the recorded requests."""
    created = await AsyncSandbox.create(timeout=300)
    endpoint.forget()
    return created
