"""The command with a container for a machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cli.conftest import CommandLine, checkout, git
from tests.support.docker_engine import IMAGE, DockerEngine

__all__ = ["checkout"]


def test_a_session_goes_on_in_a_container_over_many_commands(
    gitmachine: CommandLine, checkout: object, docker: DockerEngine
) -> None:
    here = replace(gitmachine, env={**gitmachine.env, "DOCKER_HOST": docker.host})
    words = ("--session", "boxed", "--machine", "docker", "--image", IMAGE)
    started = here.json("start", *words)
    assert started["machine"] in docker.containers()
    assert here("run", "--session", "boxed", "echo more >>hello.txt; hostname").stdout == "gitmachine\n"
    here("pause", "boxed")
    assert docker.docker("inspect", "--format", "{{.State.Status}}", started["machine"]) == "paused"
    here("resume", "boxed")
    here("stop", "boxed")
    assert git(gitmachine.directory, "show", "boxed:hello.txt") == "hello\nmore"
    assert started["machine"] not in docker.containers()


def test_an_image_is_for_containers(gitmachine: CommandLine) -> None:
    said = gitmachine("run", "--image", "debian", "true", exits=64).stderr
    assert "has no image" in said


@pytest.mark.usefixtures("docker")
def test_an_engine_that_does_not_answer_is_named(gitmachine: CommandLine, docker: DockerEngine) -> None:
    words = ("run", "--machine", "docker", "--image", IMAGE, "true")
    said = gitmachine(*words, exits=69, DOCKER_HOST=f"unix://{docker.directory}/nobody.sock").stderr
    assert "no engine answers" in said
