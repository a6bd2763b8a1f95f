"""Many crashes one after another in places that stay, so that a vault bears the marks of all of them."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gitmachine import LocalMachine
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

    asyncio.run(end())


def series(instants: int, seed: int, tell: Callable[[Trial], None]) -> tuple[list[Trial], list[str]]:
    """Each fault in turn at instants that `seed` decides. The trials, and what git finds wrong with the vaults."""
    chance = random.Random(seed)
    chosen = faults()
    plan = [(chosen[n % len(chosen)], Instant.any(chance)) for n in range(instants)]
    trials = _run([item for item in plan if not isinstance(item[0], DiskFull)], tell, small_disk=False)
    on_small_disk = [item for item in plan if isinstance(item[0], DiskFull)]
    if on_small_disk:
        more = _run(on_small_disk, tell, small_disk=True)
        trials = (trials[0] + more[0], trials[1] + more[1])
    return trials


def _run(
    plan: list[tuple[Fault, Instant]], tell: Callable[[Trial], None], *, small_disk: bool
) -> tuple[list[Trial], list[str]]:
    trials = []
    with place(small_disk=small_disk) as here:
        for number, (fault, instant) in enumerate(plan):
            trial = asyncio.run(crash(here, fault, f"crash-{os.getpid()}-{number}", instant))
            tell(trial)
            trials.append(trial)
            if trial.problems:
                _keep_for_inspection(here, number)
        return trials, fsck(here)


def _keep_for_inspection(here: Place, number: int) -> None:
    kept = os.environ.get("GM_CRASH_KEEP")
    if kept:
        shutil.copytree(here.state / "vaults", Path(kept) / f"{os.getpid()}-{number}", symlinks=True)
