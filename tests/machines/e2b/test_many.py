"""Many sessions from one program at once; `python -m bench.e2b_many --sessions 200` is the same with more."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.e2b_many import many
from bench.repositories import synthetic
from tests.e2b_endpoint.separate import SeparateEndpoint

COUNT = 40


@pytest.mark.timeout(240)
async def test_sessions_at_once_are_all_well_and_idle_ones_cost_little(
    state_dir: Path, session_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SeparateEndpoint() as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        seen = await many(COUNT, synthetic(tmp_path / "small.git", 50), endpoint)
    assert seen.failures == []
    assert (seen.branches, seen.left) == (COUNT, 0)
    assert seen.idle_bytes < 1_000_000
    assert seen.most_connections <= COUNT
