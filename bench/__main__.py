"""python -m bench [NAME,NAME…]: takes the figures, each in a process of its own, and prints the table.

`--results` publishes what there is in RESULTS.md, without taking anything.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench import registry, results
from bench.describing import this_machine, this_moment
from bench.disk import on_a_new_one
from bench.registry import Figure, Place
from bench.repositories import Repositories
from tests import leaks

_TERMINATED = 128 + signal.SIGTERM
_PATIENCE, _LONG_FACTOR = 4, 6
"""How often its planned time a figure may take, and how much longer the long form may."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="names of figures, with commas; all without")
    parser.add_argument("--long", action="store_true", help="the sizes that do not fit into twenty minutes, too")
    parser.add_argument("--results", action="store_true", help="publish the results that are kept; takes none")
    parser.add_argument("--list", action="store_true", help="say which figures there are")
    parser.add_argument("--take", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # so that what runs is cleaned up
    figures = registry.chosen(options.only)
    if options.list:
        print("\n".join(f"{figure.name:<14} {figure.about}" for figure in figures))
        return 0
    if options.take:
        return _take(figures[0], options.long)
    failed = [] if options.results else _run(figures, options.long)
    if options.results or (not options.only and not failed):
        results.publish(results.kept())
    else:
        names = {figure.name for figure in figures}
        for row in results.grown(result for result in results.kept() if result.name in names):
            print(results.line(row))
    if failed:
        print(f"these figures failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(figures: list[Figure], long: bool) -> list[str]:
    """Takes each in a process of its own; the names of those that failed or took too long."""
    print(", ".join(f"{key} {value}" for key, value in {**this_machine(), **this_moment()}.items()))
    print(results.HEADER, flush=True)
    failed = []
    for figure in figures:
        argv = [sys.executable, "-m", "bench", figure.name, "--take", *(["--long"] if long else [])]
        limit = _PATIENCE * figure.seconds * (_LONG_FACTOR if long else 1)
        with _work(own_disk=figure.leaves_much) as (work, prefix):
            try:
                subprocess.run([*prefix, *argv], check=True, timeout=limit, cwd=work, env=_environment(work))
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                print(f"{figure.name}: {error}", file=sys.stderr, flush=True)
                failed.append(figure.name)
    return failed


@contextmanager
def _work(own_disk: bool) -> Iterator[tuple[Path, list[str]]]:
    """A directory for one figure, and what to put in front of its command line.

    What still runs in it afterwards is ended: machines outlive a killed program.
    """
    with tempfile.TemporaryDirectory(prefix="gitmachine-bench-", ignore_cleanup_errors=True) as directory:
        work = Path(directory, "work")
        Path(directory).chmod(0o711)
        work.mkdir(mode=0o711)
        try:
            yield work, on_a_new_one(Path(directory, "disk"), work) if own_disk else []
        finally:
            for process in leaks.processes(directory):
                with suppress(ProcessLookupError):
                    os.kill(int(process.partition(":")[0]), signal.SIGKILL)


def _environment(work: Path) -> dict[str, str]:
    root = str(Path(__file__).parents[1])
    # Else every program that a figure starts compiles all of its modules, which no installed one does.
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "PYTHONPATH": root, "TMPDIR": str(work), "GITMACHINE_HOME": str(work / "state")}


def _take(figure: Figure, long: bool) -> int:
    """Takes one figure in this process, in the current directory."""
    work = Path.cwd()
    place = Place(work, Repositories(work / "repositories"), long)
    place.repositories.directory.mkdir(mode=0o755)
    os.sync()  # what the figure before has left for the disk to do
    moment, began = this_moment(), time.monotonic()
    rows = asyncio.run(figure.load()(place))
    spent = time.monotonic() - began
    for row in rows:
        print(results.line(row), flush=True)
    over = f", planned were {figure.seconds} s" if spent > figure.seconds and not long else ""
    print(f"  {figure.name}: {spent:.0f} s{over}", flush=True)
    results.Result(figure.name, tuple(rows), spent, long, this_machine(), moment).save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
