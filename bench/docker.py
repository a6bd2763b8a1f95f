"""python -m bench.docker IMAGE: DockerMachine against Docker's own command line, on the engine in force.

IMAGE needs git and python3 and must be there. What is cloned is a synthetic repository, by a mount on the floor's side.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from bench.measure import HEADER, Figure, Plan, compare
from bench.repositories import synthetic
from gitmachine import DockerMachine, GitMachine

_FILES = 50


async def take(image: str, work: Path) -> list[Figure]:
    """`true` in a machine that runs, and a session from nothing to its first command."""
    return [await _commands(image), await _starts(image, synthetic(work / "repository.git", _FILES))]


async def _commands(image: str) -> Figure:
    machine = DockerMachine(image, pull="never")
    await machine.start()
    try:

        async def ours() -> None:
            assert (await machine.execute("true")).ok

        async def floor() -> None:
            await _docker("exec", str(machine.id), "true")

        return await compare(Plan('run("true") in a container', "docker exec … true", 0.5, samples=40), ours, floor)
    finally:
        await machine.stop()


async def _starts(image: str, repository: Path) -> Figure:
    started: list[GitMachine] = []

    async def ours() -> None:
        gm = GitMachine(DockerMachine(image, pull="never"), str(repository))
        started.append(gm)
        await gm.start()

    async def floor() -> None:
        clone = "git clone -q /given /tmp/repo && git -C /tmp/repo rev-parse -q HEAD"
        mount = f"{repository}:/given:ro"
        safe = ("-e", "GIT_CONFIG_COUNT=1", "-e", "GIT_CONFIG_KEY_0=safe.directory", "-e", "GIT_CONFIG_VALUE_0=*")
        await _docker("run", "--rm", "--network=none", "-v", mount, *safe, image, "/bin/sh", "-c", clone)

    async def before_each() -> None:
        while started:
            await started.pop().stop(push=False)

    try:
        plan = Plan(f"start of a session, {_FILES} files", "docker run --rm with git clone", 2.0, samples=8, warm_up=1)
        return await compare(plan, ours, floor, before_each)
    finally:
        await before_each()


async def _docker(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.docker", description="DockerMachine against docker itself")
    parser.add_argument("image")
    image = parser.parse_args().image
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        work.chmod(0o755)
        os.environ["GITMACHINE_HOME"] = str(work / "state")
        print(HEADER, flush=True)
        for figure in asyncio.run(take(image, work)):
            print(figure.row(), flush=True)


if __name__ == "__main__":
    main()
