"""What each operation of a session does, counted: numbers that are the same on a slow machine and on a fast one.

`python -m bench.counting` prints them, `--write` makes them the expected ones, in counts.toml; the test run fails when
an operation does more than that table says. Nothing is traced:

- git on the host, and sandboxes that are launched, by Python's audit event for started programs;
- processes in the machine and in the observer beside it by their process numbers there, which the kernel hands out one
  after the other in a sandbox of its own, threads included;
- requests and bytes to a sandbox provider by the endpoint that stands in for E2B's service.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.repositories import synthetic
from gitmachine import E2BMachine, GitMachine, LocalMachine
from gitmachine.settings import load
from tests import leaks
from tests.e2b_endpoint import E2BEndpoint

EXPECTED = Path(__file__).with_name("counts.toml")
FILES = 200
CHANGE = "echo more >>d0/f0.txt"

Counts = dict[str, int | str]
"""What is counted, and how often it was. `git` is the commands by name, which is for the reader."""
Table = dict[str, dict[str, Counts]]
"""By provider, then by operation."""
Work = Callable[[], Awaitable[object]]

_listening: list[list[str]] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        for listener in _listening:
            listener.append(" ".join(str(word) for word in arguments[1]))


sys.addaudithook(_heard)  # for good: Python has no way to take one back


@contextmanager
def started_programs() -> Iterator[list[str]]:
    """The command lines of what this process starts meanwhile."""
    programs: list[str] = []
    _listening.append(programs)
    try:
        yield programs
    finally:
        _listening.remove(programs)


def git_commands(programs: list[str]) -> list[str]:
    """`fetch`, `push`, …: the first word behind `git` that is neither an option nor a `-c`'s setting."""
    lines = [line.split()[1:] for line in programs if line.startswith("git ")]
    return [
        next(word for before, word in pairwise(["git", *line]) if not word.startswith("-") and before != "-c")
        for line in lines
    ]


class LocalCount:
    """Counts the operations of one session on LocalMachine, one after the other."""

    def __init__(self) -> None:
        self.table: dict[str, Counts] = {}

    async def of(self, name: str, work: Work, gm: GitMachine, *, inside: bool = True) -> None:
        """`inside`: the machine runs before and after, so that what was started in it can be told."""
        before = await self._numbers(gm) if inside else (0, 0)
        with started_programs() as programs:
            await work()
        counts: Counts = {
            "git_on_host": len(git_commands(programs)),
            "git": " ".join(git_commands(programs)),
            "sandboxes": sum("bwrap" in line and "--info-fd" in line for line in programs),
        }
        if inside:
            after = await self._numbers(gm)
            counts["in_machine"] = after[0] - before[0] - (1 if before[0] else 0)
            counts["in_observer"] = after[1] - before[1] - (1 if before[1] else 0)
        self.table[name] = counts

    async def _numbers(self, gm: GitMachine) -> tuple[int, int]:
        """The numbers that a new process gets in the machine and in its observer; 0 for what is not there."""
        machine = gm.machine
        assert isinstance(machine, LocalMachine)
        if machine.id is None:
            return 0, 0
        shell = await machine.execute("echo $$")
        observer = await machine.observer("repo")
        if observer is None or not (load().machines / machine.id / "observer.json").exists():
            return int(shell.stdout), 0
        return int(shell.stdout), int((await observer.execute("echo $$")).stdout)


async def local(repository: Path) -> dict[str, Counts]:
    """A session's life on LocalMachine."""
    count = LocalCount()
    state = load().state_dir
    for name in ("start, not seen", "start, seen, warm spare"):
        gm = GitMachine(LocalMachine(), str(repository), session=name.replace(", ", "-").replace(" ", "-"))
        await count.of(name, gm.start, gm)
        await asyncio.to_thread(leaks.wait_for_builders, state)
        if name == "start, not seen":
            await gm.stop(push=False)
    await _life(gm, lambda name, work, inside: count.of(name, work, gm, inside=inside))
    await asyncio.to_thread(leaks.wait_for_builders, state)
    await asyncio.to_thread(leaks.remove_tree, load().spares)
    gm = GitMachine(LocalMachine(), str(repository), session="no-spare")
    await count.of("start, seen, no spare", gm.start, gm)
    await asyncio.to_thread(leaks.wait_for_builders, state)
    await gm.stop(push=False)
    return count.table


async def e2b(repository: Path, endpoint: E2BEndpoint) -> dict[str, Counts]:
    """The same in an E2B sandbox. The SDK's environment must lead to the endpoint."""
    table: dict[str, Counts] = {}

    async def of(name: str, work: Work, inside: bool) -> None:
        del inside
        await asyncio.to_thread(endpoint.forget)
        with started_programs() as programs:
            await work()
        requests = endpoint.requests
        table[name] = {
            "requests": len(requests),
            "kib_in": _kib(sum(len(request.body) for request in requests)),
            "kib_out": _kib(sum(request.answered_bytes for request in requests)),
            "git_on_host": len(git_commands(programs)),
            "git": " ".join(git_commands(programs)),
        }

    async with GitMachine(E2BMachine(), str(repository), session="first"):
        pass  # the vault is filled
    gm = GitMachine(E2BMachine(), str(repository), session="e2b")
    await of("start, seen", gm.start, True)
    await _life(gm, of)
    return table


async def _life(gm: GitMachine, of: Callable[[str, Work, bool], Awaitable[None]]) -> None:
    await gm.run("true")  # the first look at a checkout has more to do than the others
    await of("run('true')", lambda: gm.run("true"), True)
    await of("run, one file changed", lambda: gm.run(CHANGE), True)
    await of("diff", gm.diff, True)
    await of("commit", lambda: gm.commit("Some work"), True)
    await of("push", gm.push, True)
    await gm.run(CHANGE)
    await of("pause, one file changed", gm.pause, False)
    await of("resume", gm.resume, False)
    await gm.run(CHANGE)
    await of("stop, one file changed", gm.stop, False)


def _kib(count: int) -> int:
    return -(-count // 1024)


def _bound(what: str, seen: int | str) -> int | str:
    """What was seen; of bytes a little more, since compressed names and times are never quite the same length."""
    return seen + 2 if what.startswith("kib_") and isinstance(seen, int) else seen


def expected() -> Table:
    """The table in force."""
    return tomllib.loads(EXPECTED.read_text())


def exceeding(seen: Table, allowed: Table) -> list[str]:
    """In words, where an operation does more than it may, or is not in the table."""
    found = []
    for provider, operations in seen.items():
        for name, counts in operations.items():
            known = allowed.get(provider, {}).get(name)
            if known is None:
                found.append(f"{provider}: {name!r} is not in {EXPECTED.name}")
                continue
            for what, number in counts.items():
                bound = known.get(what)
                if isinstance(number, int) and (not isinstance(bound, int) or number > bound):
                    found.append(f"{provider}, {name}: {what} is {number}, {bound} allowed ({counts.get('git', '')})")
    return found


def written(table: Table) -> str:
    """counts.toml."""
    lines = ["# What an operation may do at most. `python -m bench.counting --write` makes it of what is done now."]
    for provider, operations in table.items():
        for name, counts in operations.items():
            lines += ["", f'[{provider}."{name}"]']
            lines += [f"{key} = {json.dumps(_bound(key, value))}" for key, value in counts.items()]
    return "\n".join(lines) + "\n"


async def _both(work: Path) -> Table:
    repository = synthetic(work / "repository.git", FILES)
    table: Table = {"local": await local(repository)}
    with E2BEndpoint() as endpoint:
        os.environ.update(endpoint.environment)
        table["e2b"] = await e2b(repository, endpoint)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.counting", description=__doc__)
    parser.add_argument("--write", action="store_true", help="make what was counted the expected numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gitmachine-bench-") as directory:
        work = Path(directory)
        work.chmod(0o711)
        os.environ["GITMACHINE_HOME"] = str(work / "state")
        table = asyncio.run(_both(work))
    if options.write:
        EXPECTED.write_text(written(table))
    else:
        print(written(table), end="")


if __name__ == "__main__":
    main()
