"""What a session on E2B costs in requests and in time, beside the calls of the TypeScript original for the same job.

`python -m bench.e2b` works against the test endpoint on 127.0.0.1, in a process of its own, with so much latency
injected before each request. The original's column is its own sequence of commands (open-gitagent/gitmachine,
src/git-machine.ts), sent by the same SDK; its `git clone` is given a bundle that is there already, and its `git push`
goes to a repository in the sandbox, so both cost it nothing but the request.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.repositories import synthetic
from gitmachine import E2BMachine, GitMachine
from tests.e2b_endpoint.separate import SeparateEndpoint

LATENCIES_S = (0.0, 0.05, 0.15)
OPERATIONS = ("start", "run", "diff", "commit", "pause", "resume", "stop")
ROUNDS = 3
WORK = "echo more >>d0/f0.txt; echo new >new-$RANDOM.txt"


@dataclass(slots=True)
class Taken:
    """Requests and milliseconds by operation; of several rounds the quickest."""

    requests: dict[str, int] = field(default_factory=dict)
    milliseconds: dict[str, float] = field(default_factory=dict)

    async def of(self, name: str, endpoint: SeparateEndpoint, work: Callable[[], Awaitable[object]]) -> None:
        await asyncio.to_thread(endpoint.forget)
        began = time.perf_counter()
        await work()
        spent = (time.perf_counter() - began) * 1000
        self.requests[name] = len(await asyncio.to_thread(lambda: endpoint.requests))
        self.milliseconds[name] = min(spent, self.milliseconds.get(name, spent))


async def ours(endpoint: SeparateEndpoint, repository: Path, taken: Taken, name: str) -> None:
    gm = GitMachine(E2BMachine(), str(repository), session=name)
    await taken.of("start", endpoint, gm.start)
    await taken.of("run", endpoint, lambda: gm.run(WORK))
    await taken.of("diff", endpoint, gm.diff)
    await taken.of("commit", endpoint, lambda: gm.commit("Some work"))
    await gm.run(WORK)
    await taken.of("pause", endpoint, gm.pause)
    await taken.of("resume", endpoint, gm.resume)
    await gm.run(WORK)
    await taken.of("stop", endpoint, gm.stop)


class Original:
    """The sequence of calls of the TypeScript library, without its shell text made of values."""

    def __init__(self, bundle: bytes) -> None:
        self._bundle = bundle
        self._sandbox: Any = None

    async def _call(self, command: str, cwd: str = "/home/user/repo") -> str:
        from e2b import CommandExitException

        try:
            return str((await self._sandbox.commands.run(command, cwd=cwd)).stdout)
        except CommandExitException as error:
            return str(error.stdout)

    async def prepare(self) -> None:
        from e2b import AsyncSandbox

        self._sandbox = await AsyncSandbox.create("base", timeout=300)
        await self._sandbox.files.write("/home/user/origin.bundle", self._bundle)

    async def start(self) -> None:
        from e2b import AsyncSandbox

        await AsyncSandbox.get_info(self._sandbox.sandbox_id)  # in place of the create, one request like it
        await self._call("git clone -q /home/user/origin.bundle /home/user/repo", cwd="/home/user")
        await self._call("git checkout -q fix 2>/dev/null || git checkout -q -b fix")
        await self._call('git config user.email "gitagent@machine"')
        await self._call('git config user.name "GitMachine"')

    async def run(self) -> None:
        await self._call(WORK)

    async def diff(self) -> None:
        await self._call("git diff HEAD")

    async def commit(self) -> None:
        await self._call("git add -A")
        await self._call("git diff --cached --quiet")
        await self._call('git commit -q -m "Some work"')
        await self._call("git rev-parse HEAD")

    async def pause(self) -> None:
        await self._call('git add -A && git diff --cached --quiet || git commit -q -m "auto: checkpoint"')

    async def resume(self) -> None:
        from e2b import AsyncSandbox

        self._sandbox = await AsyncSandbox.connect(self._sandbox.sandbox_id)

    async def stop(self) -> None:
        await self.pause()
        await self._call("git push -q origin fix")
        await self._sandbox.kill()


async def theirs(endpoint: SeparateEndpoint, bundle: bytes, taken: Taken) -> None:
    original = Original(bundle)
    await original.prepare()
    for name in OPERATIONS:
        if name in ("pause", "stop"):
            await original.run()
        await taken.of(name, endpoint, getattr(original, name))


async def measure(work: Path) -> None:
    repository = synthetic(work / "small.git", 50)
    bundle = work / "origin.bundle"
    await _git("--git-dir", str(repository), "bundle", "create", "-q", str(bundle), "--all", "HEAD")
    with SeparateEndpoint() as endpoint:
        os.environ.update(endpoint.environment)
        for latency in LATENCIES_S:
            mine, original = Taken(), Taken()
            endpoint.delay(latency)
            for turn in range(ROUNDS + 1):
                if turn == 1:  # the first was to warm up
                    mine, original = Taken(), Taken()
                await ours(endpoint, repository, mine, f"bench-{latency}-{turn}")
                await theirs(endpoint, bundle.read_bytes(), original)
            _print(latency, mine, original)


def _print(latency: float, mine: Taken, original: Taken) -> None:
    print(f"\n{latency * 1000:.0f} ms before each request")
    print(f"{'':10} {'requests':>9} {'original':>9} {'ms':>9} {'original':>9}")
    for name in OPERATIONS:
        print(
            f"{name:10} {mine.requests[name]:>9} {original.requests[name]:>9} "
            f"{mine.milliseconds[name]:>9.0f} {original.milliseconds[name]:>9.0f}"
        )
    print(
        f"{'all':10} {sum(mine.requests.values()):>9} {sum(original.requests.values()):>9} "
        f"{sum(mine.milliseconds.values()):>9.0f} {sum(original.milliseconds.values()):>9.0f}",
        flush=True,
    )


async def _git(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec("git", *arguments)
    assert await process.wait() == 0


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gitmachine-bench-") as directory:
        work = Path(directory)
        work.chmod(0o711)
        os.environ["GITMACHINE_HOME"] = str(work / "state")
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        asyncio.run(measure(work))


if __name__ == "__main__":
    main()
