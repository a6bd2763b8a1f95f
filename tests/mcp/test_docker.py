"""A server whose sessions are in containers."""

from __future__ import annotations

import pytest
from mcp.client.client import Client

from gitmachine.errors import ConfigurationError
from gitmachine_mcp import Options, build_server
from gitmachine_mcp.machines import new_machine
from tests.mcp.conftest import ok
from tests.support.docker_engine import IMAGE, DockerEngine
from tests.support.git_server import Repository


@pytest.mark.usefixtures("environment")
async def test_the_operators_choice_of_a_container_is_where_commands_run(
    docker: DockerEngine, project: Repository
) -> None:
    options = Options(repo=project.url, machine="docker", image=IMAGE)
    async with Client(build_server(options)) as client:
        ran = await ok(client, "run", command="hostname; python3 test_calc.py")
        assert ran["output"].splitlines()[0] == "gitmachine"
        await ok(client, "stop")


def test_an_image_is_for_containers() -> None:
    with pytest.raises(ConfigurationError, match="--machine docker"):
        new_machine(Options(machine="local", image="debian"))
