"""The endpoint as a process of its own, and what its death leaves behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2b import E2B, AsyncSandbox

from tests.e2b_endpoint import SeparateEndpoint
from tests.e2b_endpoint.test_lifecycle import LIMIT_S, states_of
from tests.leaks import until


@pytest.fixture
def separate(session_dir: Path) -> Iterator[SeparateEndpoint]:
    with SeparateEndpoint() as endpoint:
        yield endpoint


async def a_sandbox(endpoint: SeparateEndpoint) -> AsyncSandbox:
    where = endpoint.environment
    there = E2B(api_key=where["E2B_API_KEY"], api_url=where["E2B_API_URL"], sandbox_url=where["E2B_SANDBOX_URL"])
    sandbox: AsyncSandbox = await there.AsyncSandbox.create()
    return sandbox


async def test_a_separate_endpoint_counts_and_ends_with_its_sandboxes_also_when_it_is_killed(
    separate: SeparateEndpoint,
) -> None:
    sandbox = await a_sandbox(separate)
    mark = f"mark-{sandbox.sandbox_id}"
    await sandbox.commands.run(f": {mark}; sleep 1000; :", background=True, timeout=0)
    assert separate.requests == [("POST /v2/sandboxes", 201), ("POST /process.Process/Start", 200)]
    assert separate.sandboxes == {sandbox.sandbox_id: "running"}
    separate.forget()
    assert separate.requests == []
    assert states_of(mark)
    os.kill(separate.pid, signal.SIGKILL)
    assert until(lambda: not states_of(mark), LIMIT_S)
