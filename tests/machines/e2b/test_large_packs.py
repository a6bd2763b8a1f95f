"""What is too large for a command's output goes as a file, in pieces, and is whole in no program's memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitmachine import E2BMachine, GitMachine
from gitmachine.settings import load
from tests.e2b_endpoint.separate import SeparateEndpoint
from tests.support.checkouts import git
from tests.support.git_server import Repository

FILE_BYTES = 48_000_000
PEAK_BYTES = 16_000_000
"""Of what Python holds at a time: a few pieces and their way through the HTTP client."""


@pytest.fixture
def endpoint(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeparateEndpoint]:
    """In a process of its own, whose memory does not count here."""
    with SeparateEndpoint() as separate:
        for name, value in separate.environment.items():
            monkeypatch.setenv(name, value)
        yield separate


async def test_a_large_pack_comes_out_and_goes_in_by_the_piece(endpoint: SeparateEndpoint, project: Repository) -> None:
    remote = str(project.path)  # not by HTTP: the tests' server is in this process, and its memory would count
    gm = GitMachine(E2BMachine(), remote, session="fix-1")
    await gm.start()
    tracemalloc.start()
    try:
        await gm.run(f"head -c {FILE_BYTES} /dev/urandom >big")
        await gm.commit("A large file")
        _, out = tracemalloc.get_traced_memory()
        await gm.stop()
        again = GitMachine(E2BMachine(), remote, session="fix-1")
        tracemalloc.reset_peak()
        await again.start()
        _, back = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (out < PEAK_BYTES, back < PEAK_BYTES) == (True, True), (out, back)
    vault = load().vaults / gm.record.vault / "sessions.git"
    ref = f"refs/gitmachine/sessions/{gm.record.id}/tip"
    assert git(vault, "cat-file", "-s", f"{ref}:big") == str(FILE_BYTES)
    assert (await again.run("wc -c <big")).stdout.strip() == str(FILE_BYTES)
    await again.stop()
    assert endpoint.sandboxes == {}
