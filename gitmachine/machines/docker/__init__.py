"""DockerMachine: a container on a Docker engine or Podman's service, here or elsewhere."""

from gitmachine.machines.docker.images import PullProgress
from gitmachine.machines.docker.machine import DEFAULT_IMAGE, DockerMachine
from gitmachine.machines.docker.plan import Mount

__all__ = ["DEFAULT_IMAGE", "DockerMachine", "Mount", "PullProgress"]
