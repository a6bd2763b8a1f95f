"""Whatever is done to a working tree, its checkpoints, rewinds and forks have exactly the files of a plain model."""

from __future__ import annotations

import pytest

from tests.properties.run import check

EXAMPLES = {"plain": 4, "local": 6}
"""A share of `python -m tests.properties`, the same each time."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("machine", EXAMPLES)
def test_every_checkpoint_rewind_and_fork_has_the_files_of_the_model(machine: str) -> None:
    check(machine, EXAMPLES[machine])
