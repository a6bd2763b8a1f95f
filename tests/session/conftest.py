"""Sessions for the tests: on the embedded machine and on one of ten members, against a real remote."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from gitmachine import DockerMachine, E2BMachine, GitMachine, LocalMachine, Machine, MachineState
from gitmachine.errors import GitMachineError
from tests.providers.plain import PlainMachine
from tests.support.docker_engine import IMAGE
from tests.support.e2b import e2b, e2b_endpoint
from tests.support.git_server import TOKEN, GitServer, Repository, git_server

__all__ = ["e2b", "e2b_endpoint", "git_server"]

MachineMaker = Callable[[], Machine]


class Opener(Protocol):
    """Starts a session and sees to it that its machine is gone after the test."""

    async def __call__(self, repository: str | Repository | None = None, **options: Any) -> GitMachine: ...


def _in_a_container() -> Machine:
    return DockerMachine(IMAGE, pull="never")


_PROVIDERS: dict[str, MachineMaker] = {"local": LocalMachine}
if os.geteuid() == 0:
    # What these do is the same for every user of the host: the run as root is enough, and CI has only so much time.
    _PROVIDERS |= {"ten_members": PlainMachine, "docker": _in_a_container, "e2b": E2BMachine}


@pytest.fixture(params=list(_PROVIDERS.values()), ids=list(_PROVIDERS))
def make_machine(request: pytest.FixtureRequest) -> MachineMaker:
    maker: MachineMaker = request.param
    if maker is E2BMachine:
        request.getfixturevalue("e2b")
    if maker is _in_a_container:
        request.getfixturevalue("docker")
    return maker


@pytest.fixture
def project(git_server: GitServer) -> Repository:
    return git_server.repository()


@pytest.fixture
async def session(make_machine: MachineMaker, project: Repository, state_dir: Path) -> AsyncIterator[Opener]:
    """Opens sessions on `project`, unless another repository is named."""
    machines: list[Machine] = []

    async def opened(repository: str | Repository | None = None, **options: Any) -> GitMachine:
        machine = options.pop("machine", None) or make_machine()
        machines.append(machine)
        chosen = project if repository is None else repository
        if isinstance(chosen, Repository):
            options.setdefault("token", TOKEN)
            chosen = chosen.url
        gm = GitMachine(machine, chosen, **{"session": "fix-1", **options})
        await gm.start()
        return gm

    yield opened
    for machine in machines:
        with suppress(GitMachineError):
            if machine.state is MachineState.PAUSED:
                await machine.resume()
        await machine.stop()


async def said(gm: GitMachine) -> list[str]:
    """The names of the events so far, without those of commands and checkpoints."""
    quiet = {"command_started", "command_finished", "checkpointed"}
    return [event.name for event in await gm.events() if event.name not in quiet]


async def out(gm: GitMachine, command: str) -> str:
    """What a command prints; it must succeed."""
    result = await gm.run(command)
    assert result.exit_code == 0, result
    return result.stdout.rstrip("\n")
