"""Many crashes one after another in places that stay, so that a vault bears the marks of all of them."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gitmachine import LocalMachine
from gitmachine.machines.local import leavings
from tests import leaks
from tests.crash.faults import DiskFull, Fault, Place, faults, mount_small, unmount
from tests.crash.trial import LIMIT_S, Instant, Trial, crash, fsck
from tests.support.git_server import GitServer


@contextmanager
def place(*, small_disk: bool = False) -> Iterator[Place]:
    """A state directory and a server; nothing of them is left behind."""
    root = Path(tempfile.mkdtemp(prefix="crash-"))
    root.chmod(0o711)
    for name in ("state", "server"):
        (root / name).mkdir(mode=0o755)
    if small_disk:
        mount_small(root / "state")
    (root / "state").chmod(0o711)
    try:
        with GitServer(root / "server") as server:
            yield Place(root / "state", server)
    finally:
        _end_machines(root / "state")
        leaks.wait_for_builders(root / "state")
        if small_disk:
            unmount(root / "state")
        leaks.remove_tree(root)


def _end_machines(state: Path) -> None:
    async def end() -> None:
        for path in (state / "machines").glob("*/machine.json"):
            machine = await LocalMachine.remains(path.parent.name, state_dir=state)
            await machine.stop()
        for path in (state / "machines").glob("*/"):  # killed before there was a record
            await leavings.remove_half_made(leavings.Left(path.name, path, "half-made", 0, False))

    asyncio.run(end())


@dataclass(frozen=True, slots=True)
class Pace:
    """How a series is run."""

    lanes: int = 2
    """So many sessions at a time, each in a place of its own."""
    limit_s: float = LIMIT_S
    """Of one crash and its recovery: whatever takes longer hangs."""


def series(
    instants: int, seed: int, tell: Callable[[Trial], None], *, only: str | None = None, pace: Pace | None = None
) -> tuple[list[Trial], list[str]]:
    """Each fault in turn at instants that `seed` decides. The trials, and what git finds wrong with the vaults."""
    chance = random.Random(seed)
    chosen = [fault for fault in faults() if only in (None, fault.name)]
    return follow([(chosen[n % len(chosen)], Instant.any(chance)) for n in range(instants)], tell, pace)


def follow(
    plan: list[tuple[Fault, Instant]], tell: Callable[[Trial], None], pace: Pace | None = None
) -> tuple[list[Trial], list[str]]:
    """The same, with each fault and its instant given."""
    pace = pace or Pace()
    small = [item for item in plan if isinstance(item[0], DiskFull)]
    large = [item for item in plan if not isinstance(item[0], DiskFull)]
    # Those on a small disk are the first lane's, which has the fewer others.
    others = max(pace.lanes - 1, 1)
    share = max(len(plan) // pace.lanes - len(small), 0)
    lanes = [large[:share], *(large[share:][n::others] for n in range(others))]
    with ThreadPoolExecutor(len(lanes)) as pool:
        running = [pool.submit(_run, lane, small if n == 0 else [], tell, pace) for n, lane in enumerate(lanes)]
        parts = [part for lane in running for part in lane.result()]
    return [trial for trials, _ in parts for trial in trials], [fault for _, faults in parts for fault in faults]


def _run(
    large: list[tuple[Fault, Instant]], small: list[tuple[Fault, Instant]], tell: Callable[[Trial], None], pace: Pace
) -> list[tuple[list[Trial], list[str]]]:
    return [_in_place(plan, tell, pace, small_disk=plan is small) for plan in (large, small) if plan]


def _in_place(
    plan: list[tuple[Fault, Instant]], tell: Callable[[Trial], None], pace: Pace, *, small_disk: bool
) -> tuple[list[Trial], list[str]]:
    trials = []
    with place(small_disk=small_disk) as here:
        for number, (fault, instant) in enumerate(plan):
            trial = asyncio.run(crash(here, fault, f"crash-{number}", instant, pace.limit_s))
            tell(trial)
            trials.append(trial)
        return trials, fsck(here)
