"""No operation sends more requests or bytes to a sandbox's provider than it is expected to; see bench/counts.toml."""

from __future__ import annotations

from pathlib import Path

from bench import counting
from bench.repositories import synthetic
from tests.e2b_endpoint import E2BEndpoint
from tests.support.e2b import e2b, e2b_endpoint

__all__ = ["e2b", "e2b_endpoint"]


async def test_no_operation_on_e2b_asks_or_moves_more_than_expected(e2b: E2BEndpoint, state_dir: Path) -> None:
    repository = synthetic(state_dir / "repository.git", counting.FILES)
    seen = await counting.e2b(repository, e2b)
    assert counting.exceeding({"e2b": seen}, counting.expected()) == []
    assert seen.keys() == counting.expected()["e2b"].keys()
