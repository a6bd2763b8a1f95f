"""python -m bench [--quick] [--json FILE]: takes the figures and prints the table."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Awaitable, Sequence
from pathlib import Path

from bench import checkpoints, langchain_run, mcp_server, sessions
from bench.measure import HEADER, Extra, Figure
from bench.repositories import synthetic


async def take(work: Path, files: int) -> list[Figure | Extra]:
    small = synthetic(work / "small.git", 50)
    large = synthetic(work / "large.git", files)
    figures: list[Figure | Extra] = []
    parts: tuple[Awaitable[Sequence[Figure | Extra]], ...] = (
        sessions.commands(small),
        checkpoints.checkpoints(large, _below(work, "checkpoints"), files),
        checkpoints.forks(large, _below(work, "forks"), files),
        sessions.changes(large, _below(work, "large"), files),
        sessions.starts(large, _below(work, "starts"), files),
        mcp_server.calls(small),
        mcp_server.starts(),
        langchain_run.calls(small),
    )
    for part in parts:
        for figure in await part:
            print(figure.row(), flush=True)
            figures.append(figure)
    print(await checkpoints.disk_of_forks(small), flush=True)
    return figures


def _below(work: Path, name: str) -> Path:
    path = work / name
    path.mkdir()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 files instead of 20,000")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gitmachine-bench-") as directory:
        work = Path(directory)
        work.chmod(0o711)
        os.environ["GITMACHINE_HOME"] = str(work / "state")
        print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, uid {os.geteuid()}")
        print(HEADER)
        figures = asyncio.run(take(work, 2_000 if options.quick else 20_000))
    if options.json:
        options.json.write_text(json.dumps([figure.as_json() for figure in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
