"""DockerMachine against Docker's own command line, on an engine that is started for it and removed again."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from bench.measure import Contender, Plan, Row, compare
from bench.registry import Place
from gitmachine import DockerMachine, GitMachine
from tests.support.docker_engine import IMAGE, docker_engine

AIM_RUN, AIM_START = 0.5, 2.0
_FILES = 50


async def docker(place: Place) -> list[Row]:
    """`true` in a container that runs, and a session from nothing to its start. Nothing where no engine can run."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        print("  docker: no engine here: install docker.io and debootstrap, and run it as root")
        return []
    with docker_engine(place.below("engine")) as engine:
        os.environ["DOCKER_HOST"] = engine.host
        return [await _commands(place), await _starts(place, place.repositories.of(_FILES))]


async def _commands(place: Place) -> Row:
    machine = DockerMachine(IMAGE, pull="never")
    await machine.start()
    try:

        async def ours() -> None:
            assert (await machine.execute("true")).ok

        async def floor() -> None:
            await _docker("exec", str(machine.id), "true")

        plan = Plan('run("true") in a container', "docker exec … true", AIM_RUN)
        return await compare(plan, ours, floor, place.effort(15.0))
    finally:
        await machine.stop()


async def _starts(place: Place, repository: Path) -> Row:
    started: list[GitMachine] = []

    async def ours() -> None:
        gm = GitMachine(DockerMachine(IMAGE, pull="never"), str(repository))
        started.append(gm)
        await gm.start()

    async def floor() -> None:
        clone = "git clone -q /given /tmp/repo && git -C /tmp/repo rev-parse -q HEAD"
        mount = f"{repository}:/given:ro"
        safe = ("-e", "GIT_CONFIG_COUNT=1", "-e", "GIT_CONFIG_KEY_0=safe.directory", "-e", "GIT_CONFIG_VALUE_0=*")
        await _docker("run", "--rm", "--network=none", "-v", mount, *safe, IMAGE, "/bin/sh", "-c", clone)

    async def clear() -> None:
        while started:
            await started.pop().stop(push=False)

    try:
        plan = Plan(f"start in a container, {_FILES} files", "docker run --rm with git clone", AIM_START)
        return await compare(plan, Contender(ours, clear), floor, place.effort(25.0, warm_up=1))
    finally:
        await clear()


async def _docker(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
