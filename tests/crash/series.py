"""Many crashes one after another in places that stay, so that a vault bears the marks of all of them."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from gitmachine import LocalMachine
from gitmachine.machines.local import leavings
from tests import leaks
from tests.crash.faults import DiskFull, Fault, Place, faults, mount_small, unmount
from tests.crash.trial import Instant, Trial, crash, fsck
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


def series(
    instants: int, seed: int, tell: Callable[[Trial], None], *, only: str | None = None
) -> tuple[list[Trial], list[str]]:
    """Each fault in turn at instants that `seed` decides. The trials, and what git finds wrong with the vaults.

    Two at a time, each in a place of its own.
    """
    chance = random.Random(seed)
    chosen = [fault for fault in faults() if only in (None, fault.name)]
    return follow([(chosen[n % len(chosen)], Instant.any(chance)) for n in range(instants)], tell)


def follow(plan: list[tuple[Fault, Instant]], tell: Callable[[Trial], None]) -> tuple[list[Trial], list[str]]:
    """The same, with each fault and its instant given."""
    small = [item for item in plan if isinstance(item[0], DiskFull)]
    large = [item for item in plan if not isinstance(item[0], DiskFull)]
    # Those on a small disk take their turn in one of the lanes.
    half = (len(plan) + 1) // 2 - len(small)
    lanes = [[(large[: max(half, 0)], False), (small, True)], [(large[max(half, 0) :], False)]]
    with ThreadPoolExecutor(len(lanes)) as pool:
        done = list(pool.map(lambda lane: [_run(part, tell, small_disk=disk) for part, disk in lane if part], lanes))
    parts = [part for lane in done for part in lane]
    return [trial for trials, _ in parts for trial in trials], [fault for _, faults in parts for fault in faults]


def _run(
    plan: list[tuple[Fault, Instant]], tell: Callable[[Trial], None], *, small_disk: bool
) -> tuple[list[Trial], list[str]]:
    trials = []
    with place(small_disk=small_disk) as here:
        for number, (fault, instant) in enumerate(plan):
            trial = asyncio.run(crash(here, fault, f"crash-{number}", instant))
            tell(trial)
            trials.append(trial)
        return trials, fsck(here)
