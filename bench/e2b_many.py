"""Many sessions on E2B at once, from one program: `python -m bench.e2b_many [--sessions 200]`.

All start together, each runs a command, all stand idle, each runs another, all stop. Told are how long that took, what
an idle session holds of this program's memory, and how many connections there were at once.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.repositories import synthetic
from gitmachine import E2BMachine, GitMachine
from tests.e2b_endpoint.separate import SeparateEndpoint

COUNT = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen."""

    seconds: float
    failures: list[BaseException]
    """What sessions raised; each of them has ended then."""
    idle_bytes: float
    """Of resident memory for each session, once all had run a command."""
    most_connections: int
    branches: int
    """Sessions whose branch has what both commands did."""
    left: int
    """Sandboxes that were still there afterwards."""


async def many(count: int, repository: Path, endpoint: SeparateEndpoint) -> Outcome:
    """The SDK's environment must lead to the endpoint."""
    await _one(repository, "warm-up")
    endpoint.forget()
    before, began = _resident(), time.perf_counter()
    sessions = [GitMachine(E2BMachine(), str(repository), session=f"s-{n}", lock_timeout=600) for n in range(count)]
    failures = await _all(map(_begin, sessions))
    gc.collect()
    idle = (_resident() - before) / count
    failures += await _all(map(_finish, sessions))
    spent = time.perf_counter() - began
    branches = [await _has_both(repository, gm.session) for gm in sessions]
    return Outcome(spent, failures, idle, endpoint.most_connections, sum(branches), len(endpoint.sandboxes))


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> list[BaseException]:
    """What of it failed, once all of it has ended."""
    return [error for error in await asyncio.gather(*work, return_exceptions=True) if error is not None]


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
    parser = argparse.ArgumentParser(prog="python -m bench.e2b_many", description=__doc__)
    parser.add_argument("--sessions", type=int, default=COUNT)
    count = parser.parse_args().sessions
    with tempfile.TemporaryDirectory(prefix="gitmachine-bench-") as directory:
        work = Path(directory)
        work.chmod(0o711)
        os.environ["GITMACHINE_HOME"] = str(work / "state")
        repository = synthetic(work / "small.git", 50)
        with SeparateEndpoint() as endpoint:
            os.environ.update(endpoint.environment)
            seen = asyncio.run(many(count, repository, endpoint))
    print(
        f"{count} sessions at once: {len(seen.failures)} failures, {seen.seconds:.0f} s, "
        f"{seen.idle_bytes / 1e6:.2f} MB an idle session, at most {seen.most_connections} connections, "
        f"{seen.branches} branches whole, {seen.left} sandboxes left"
    )
    for error in seen.failures:
        print(f"  {type(error).__name__}: {error}")
    if seen.failures or seen.left or seen.branches < count:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
