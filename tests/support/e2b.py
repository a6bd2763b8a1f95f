"""E2B on this host, for tests that need the provider and not the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2b_endpoint import E2BEndpoint, nothing

__all__ = ["e2b", "e2b_endpoint"]


@pytest.fixture(scope="session")
def e2b_endpoint(session_dir: Path) -> Iterator[E2BEndpoint]:
    """One endpoint for the whole run."""
    with E2BEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def e2b(e2b_endpoint: E2BEndpoint, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[E2BEndpoint]:
    """The endpoint, made the one in force by the SDK's environment variables. No sandbox of the test's is left."""
    for name, value in e2b_endpoint.environment.items():
        monkeypatch.setenv(name, value)
    before = set(e2b_endpoint.sandboxes)
    yield e2b_endpoint
    e2b_endpoint.inject(nothing)
    left = set(e2b_endpoint.sandboxes) - before
    assert not left, f"sandboxes left behind: {left}"
