"""E2BMachine against the SDK alone, on the test endpoint on 127.0.0.1, in a process of its own.

`python -m bench.e2b` is the table of a whole session in requests and in time, beside the original's calls.
"""

from __future__ import annotations

import os

from bench.measure import Plan, Row, rounds
from bench.registry import Place
from gitmachine import E2BMachine, GitMachine
from tests.e2b_endpoint.separate import SeparateEndpoint

AIM = 1.05
LATENCY_S = 0.05
"""A sandbox is across a network; without any, the endpoint's own work would be what is measured."""


async def e2b(place: Place) -> list[Row]:
    """`true` as one command of a session, against one request of the SDK that runs it."""
    from e2b import AsyncSandbox

    repository = str(place.repositories.of(50))
    with SeparateEndpoint() as endpoint:
        os.environ.update(endpoint.environment)
        lifecycle = GitMachine(E2BMachine(), repository, session="lifecycle", checkpoint="lifecycle")
        each = GitMachine(E2BMachine(), repository, session="each")
        sandbox = await AsyncSandbox.create("base", timeout=300)
        async with lifecycle, each:
            endpoint.delay(LATENCY_S)
            taken = await rounds(
                {
                    "machine": lambda: lifecycle.machine.execute("true"),
                    "lifecycle": lambda: lifecycle.run("true"),
                    "each": lambda: each.run("true"),
                    "floor": lambda: sandbox.commands.run("true"),
                },
                place.effort(20.0),
            )
            endpoint.delay(0.0)
        await sandbox.kill()
    against = f"one SDK request, {LATENCY_S * 1000:.0f} ms away"
    return [
        taken.ratio(Plan("E2B: machine.execute('true')", against, AIM), "machine"),
        taken.ratio(Plan("E2B: run('true'), checkpoint='lifecycle'", against, AIM), "lifecycle"),
        taken.ratio(Plan("E2B: run('true'), a checkpoint after each command", against, AIM), "each"),
    ]
