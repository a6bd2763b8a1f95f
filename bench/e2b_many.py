"""Many sessions on E2B at once, from one program: `python -m bench.e2b_many [COUNT]`, by default 200.

All start together, each runs a command, all stand idle, each runs another, all stop. Told are how long that took, what
an idle session holds of this program's memory, and how many connections there were at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.repositories import synthetic
from gitmachine import E2BMachine, GitMachine
from tests.e2b_endpoint.separate import SeparateEndpoint

COUNT = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen."""

    seconds: float
    idle_bytes: float
    """Of resident memory for each session, once all had run a command."""
    most_connections: int
    branches: int
    """Sessions whose branch has what both commands did."""
    left: int
    """Sandboxes that were still there afterwards."""


async def many(count: int, repository: Path, endpoint: SeparateEndpoint) -> Outcome:
    """Raises what any of the sessions raises. The SDK's environment must lead to the endpoint."""
    await _one(repository, "warm-up")
    endpoint.forget()
    before, began = _resident(), time.perf_counter()
    sessions = [GitMachine(E2BMachine(), str(repository), session=f"s-{n}", lock_timeout=600) for n in range(count)]
    async with asyncio.TaskGroup() as group:
        for gm in sessions:
            group.create_task(_begin(gm))
    gc.collect()
    idle = (_resident() - before) / count
    async with asyncio.TaskGroup() as group:
        for gm in sessions:
            group.create_task(_finish(gm))
    spent = time.perf_counter() - began
    branches = [await _has_both(repository, gm.session) for gm in sessions]
    return Outcome(spent, idle, endpoint.most_connections, sum(branches), len(endpoint.sandboxes))


async def _begin(gm: GitMachine) -> None:
    await gm.start()
    assert (await gm.run("echo one >one.txt")).ok


async def _finish(gm: GitMachine) -> None:
    assert (await gm.run("cat one.txt >two.txt")).ok
    await gm.stop()


async def _one(repository: Path, name: str) -> None:
    gm = GitMachine(E2BMachine(), str(repository), session=name)
    await _begin(gm)
    await _finish(gm)


async def _has_both(repository: Path, branch: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        "git", "--git-dir", str(repository), "show", f"{branch}:two.txt", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out == b"one\n"


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with tempfile.TemporaryDirectory(prefix="gitmachine-bench-") as directory:
        work = Path(directory)
        work.chmod(0o711)
        os.environ["GITMACHINE_HOME"] = str(work / "state")
        repository = synthetic(work / "small.git", 50)
        with SeparateEndpoint() as endpoint:
            os.environ.update(endpoint.environment)
            seen = asyncio.run(many(count, repository, endpoint))
    print(
        f"{count} sessions at once: {seen.seconds:.0f} s, {seen.idle_bytes / 1e6:.2f} MB an idle session, at most "
        f"{seen.most_connections} connections, {seen.branches} branches whole, {seen.left} sandboxes left"
    )


if __name__ == "__main__":
    main()
