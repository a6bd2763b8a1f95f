"""A container from an image: made, filled, started; or nothing at all."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gitmachine.errors import ConfigurationError, MachineUnavailable
from gitmachine.machines.command import to_its_end
from gitmachine.machines.docker import images
from gitmachine.machines.docker.exec_stream import begun
from gitmachine.machines.docker.images import Pull, PullCallback
from gitmachine.machines.docker.plan import LABEL, RELAY_USER, UPLOAD_TO, Held, Mount, Network, Plan, Reach
from gitmachine.machines.local.limits import Limits

if TYPE_CHECKING:
    from aiodocker import Docker
    from aiodocker.containers import DockerContainer

_NUMERIC = re.compile(r"(\d{1,10})(?::(\d{1,10}))?")
_NO_PROGRAM = re.compile(r"executable file .*not found|no such file or directory", re.IGNORECASE | re.DOTALL)
_CONFLICT, _NOT_FOUND = 409, 404
BY_AGENT = {"disk_bytes": "disk", "open_files": "open_files"}
"""The limits that only the agent keeps, and their names in `Capabilities`."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asked for."""

    image: str
    network: Network
    allowed: tuple[str, ...] | None
    limits: Limits
    user: str
    read_only: bool
    envs: Mapping[str, str]
    mounts: Sequence[Mount]
    labels: Mapping[str, str]
    pull: Pull = "missing"
    on_pull: PullCallback | None = None

    def plan(self, name: str, owner: tuple[int, int], reach: Reach) -> Plan:
        uid, gid = owner
        held = Held(
            reach=reach,
            uid=uid,
            gid=gid,
            network=self.network,
            allowed=self.allowed,
            limits=self.limits,
            read_only=self.read_only,
            image=self.image,
        )
        return Plan(name, held, self.envs, self.mounts, self.labels)


def wish_of(held: Held, environment: Mapping[str, str], inspected: dict[str, Any]) -> Wish:
    """What somebody once asked for, from what is written on the container."""
    mounts = inspected["HostConfig"].get("Mounts") or []
    labels = inspected["Config"].get("Labels") or {}
    return Wish(
        image=held.image,
        network=held.network,
        allowed=held.allowed,
        limits=Limits.model_validate(held.limits.model_dump(exclude_defaults=True)),  # what may have been asked for
        user=f"{held.uid}:{held.gid}",
        read_only=held.read_only,
        envs=environment,
        mounts=[Mount(one["Source"], one["Target"], bool(one.get("ReadOnly"))) for one in mounts],
        labels={name: value for name, value in labels.items() if name != LABEL},
    )


async def make(docker: Docker, wish: Wish, name: str) -> Held:
    """A container of that name that runs. Raises MachineUnavailable, ConfigurationError, MachineError."""
    import aiodocker

    await images.ensure(docker, wish.image, wish.pull, wish.on_pull)
    plan = wish.plan(name, await _owner(docker, wish, name), "agent")
    try:
        await _run(docker, plan)
    except aiodocker.DockerError as error:
        if not _NO_PROGRAM.search(str(error.message)):
            raise
        await remove(docker, name)
        _check_without_agent(wish)
        plan = replace(plan, held=plan.held.model_copy(update={"reach": "exec"}))
        await _run_without_agent(docker, plan)
    return plan.held


async def _run(docker: Docker, plan: Plan) -> DockerContainer:
    container = await _create(docker, plan.configuration(), plan.name)
    await fill(container, plan)
    await container.start()
    return container


async def _create(docker: Docker, configuration: dict[str, Any], name: str) -> DockerContainer:
    # An engine goes on with what it was asked for when nobody waits for it any more, and we could not remove it yet.
    return await to_its_end(docker.containers.create(configuration, name=name))


def _check_without_agent(wish: Wish) -> None:
    """What was asked for and only the agent can keep is not left out silently."""
    asked = [name for name in BY_AGENT if name in wish.limits.model_fields_set and getattr(wish.limits, name)]
    asked += [] if wish.allowed is None else ["a list of allowed hosts"]
    if asked:
        raise MachineUnavailable(
            f"image {wish.image!r} has no python3, without which nothing keeps {' and '.join(asked)}: use an image "
            "that has, or leave that out"
        )


async def _run_without_agent(docker: Docker, plan: Plan) -> None:
    import aiodocker

    try:
        container = await _run(docker, plan)
        probe = await container.exec(["/bin/sh", "-c", "exit 0"])
        async with begun(probe) as stream:
            while await stream.read_out() is not None:
                pass
        if (await probe.inspect())["ExitCode"] == 0:
            return
    except aiodocker.DockerError as error:
        if error.status != _CONFLICT and not _NO_PROGRAM.search(str(error.message)):
            raise
    raise MachineUnavailable(
        f"image {plan.held.image!r} has neither python3 nor /bin/sh, so nothing can be run in it: use an image with a "
        "shell and git; with python3 commands are faster"
    )


async def fill(container: DockerContainer, plan: Plan) -> None:
    """Puts the home directory and the agent where they belong; also into a container that has ended."""
    await container.put_archive(UPLOAD_TO, plan.files())  # type: ignore[no-untyped-call]


async def remove(docker: Docker, name: str) -> None:
    """Ends a container and removes it with its volumes; one that is not there is fine."""
    import aiodocker

    try:
        await docker.containers.container(name).delete(force=True, v=True)
    except aiodocker.DockerError as error:
        if error.status not in (_NOT_FOUND, _CONFLICT):
            raise
        if error.status == _CONFLICT:  # somebody else is at it
            await _until_gone(docker, name)


async def _until_gone(docker: Docker, name: str) -> None:
    import aiodocker

    try:
        await docker.containers.container(name).wait(condition="removed")
    except aiodocker.DockerError as error:
        if error.status != _NOT_FOUND:
            raise


async def _owner(docker: Docker, wish: Wish, name: str) -> tuple[int, int]:
    """User and group of the machine's processes and of its home."""
    found = _NUMERIC.fullmatch(wish.user)
    owner = (int(found[1]), int(found[2] or found[1])) if found else await _by_name(docker, wish, name)
    if owner[0] == RELAY_USER:
        raise ConfigurationError(f"user {RELAY_USER} is kept for the machine's own process: take another number")
    return owner


async def _by_name(docker: Docker, wish: Wish, name: str) -> tuple[int, int]:
    try:
        container = await _create(docker, {"Image": wish.image, "Cmd": ["-"]}, f"{name}-look")
        for line in (await _text(container, "/etc/passwd")).splitlines():
            fields = line.split(":")
            if len(fields) > 3 and fields[0] == wish.user:
                return int(fields[2]), int(fields[3])
    finally:
        await remove(docker, f"{name}-look")
    raise ConfigurationError(
        f"image {wish.image!r} has no user {wish.user!r} in its /etc/passwd: give a number, such as '1000:1000'"
    )


async def _text(container: DockerContainer, path: str) -> str:
    import aiodocker

    try:
        archive: tarfile.TarFile = await container.get_archive(path)
    except aiodocker.DockerError as error:
        if error.status == _NOT_FOUND:
            return ""
        raise
    with archive:
        file = archive.extractfile(archive.next() or tarfile.TarInfo())
        return file.read().decode("utf-8", "replace") if file else ""


def environment_of(inspected: dict[str, Any]) -> dict[str, str]:
    """The image's variables and the caller's own, which the engine has put together."""
    entries = inspected["Config"].get("Env") or []
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
