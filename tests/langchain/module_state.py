"""For the suites of langchain-tests, whose tests share one session: a state directory of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leaks


@pytest.fixture(scope="module")
def module_state(session_dir: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="state-", dir=session_dir))
    path.chmod(0o711)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GITMACHINE_HOME", str(path))
        yield path
    leaks.wait_for_builders(path)
    try:
        leaks.assert_nothing_runs(str(path))
    finally:
        leaks.remove_tree(path)
