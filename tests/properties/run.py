"""As many examples as are wanted, of the same steps each time or of new ones."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from tests.properties.model import MACHINES, STEPS, Step, follow, state_of_its_own


def check(machine: str, examples: int, seed: int | None = None) -> int:
    """How many steps were taken. Fails with the shortest steps that go wrong. Without `seed` the same each time."""
    taken = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=seed is None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(STEPS)
    def steps_agree(steps: list[Step]) -> None:
        nonlocal taken
        with state_of_its_own():
            asyncio.run(follow(steps, MACHINES[machine]))
        taken += len(steps)

    (steps_agree if seed is None else seeded(seed)(steps_agree))()
    return taken
