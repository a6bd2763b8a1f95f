"""DockerMachine keeps the contract, with the agent and with an `exec` a command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from gitmachine import DockerMachine, Machine
from gitmachine.testing import MachineContract
from tests.support.docker_engine import IMAGE, WITHOUT_PYTHON, DockerEngine


class TestDockerMachine(MachineContract):
    @pytest.fixture
    def machine(self, docker: DockerEngine) -> Machine:
        return DockerMachine(IMAGE, pull="never")


class TestDockerMachineWithoutPython(MachineContract):
    deviations: ClassVar[Mapping[str, str]] = {
        "test_an_input_of_5_mb_arrives_whole": "it is counted with cksum, which Debian's busybox lacks",
    }
    grace_s = 6.0

    @pytest.fixture
    def machine(self, docker: DockerEngine) -> Machine:
        return DockerMachine(WITHOUT_PYTHON, pull="never")
