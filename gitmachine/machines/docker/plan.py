"""What one container is to be: its configuration as the engine takes it, and what another program needs to go on."""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gitmachine.errors import ConfigurationError
from gitmachine.machines.docker.engine import sockets
from gitmachine.machines.docker.line import RELAY
from gitmachine.machines.local import seccomp
from gitmachine.machines.local.limits import MIB, Limits
from gitmachine.machines.local.sandbox import AGENT, base_environment
from gitmachine.network import launching
from gitmachine.network.environment import proxy_environment

HOME = "/home/user"
LABEL = "io.gitmachine.machine"
RELAY_USER = 64999
"""Nobody's number: no command in the machine can signal or trace what runs as it, and it owns nothing there."""

UPLOAD_TO = "/home"
_OURS = f"{UPLOAD_TO}/.gitmachine"
SOCKET = f"{_OURS}/run/agent.sock"
RELAY_COMMAND = ("python3", "-I", "-S", f"{_OURS}/relay.py", SOCKET)
_WAIT_FOR_EVER = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
_SHM_BYTES = 64 * MIB
_MODE = re.compile(r"ro|rw")

Network = Literal["none", "bridge", "host"]
Reach = Literal["agent", "exec"]
"""How commands are run: by an agent that is kept, or, in an image without python3, by an `exec` each."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory or file of the engine's host in the machine."""

    source: str
    target: str
    read_only: bool = True

    @classmethod
    def parse(cls, text: str) -> Mount:
        """`SOURCE:TARGET`, read-only, or `SOURCE:TARGET:rw`. Raises ConfigurationError."""
        parts = text.split(":")
        if len(parts) == 2:
            parts.append("ro")
        if len(parts) != 3 or not all(p.startswith("/") for p in parts[:2]) or not _MODE.fullmatch(parts[2]):
            raise ConfigurationError(f"mount {text!r}: give /source:/target, which is read-only, or /source:/target:rw")
        return cls(parts[0], parts[1], parts[2] == "ro")


def check_mounts(mounts: Iterable[Mount], engine_address: str) -> None:
    """Refuses what would put an engine's socket into the machine. Raises ConfigurationError."""
    guarded = [path for socket in sockets() for path in (socket, socket.resolve())]
    if engine_address.startswith("unix://"):
        own = Path(engine_address.removeprefix("unix://"))
        guarded += [own, own.resolve()]
    for mount in mounts:
        source = Path(posixpath.normpath(mount.source))
        places = {source, source.resolve()}
        if any(path == place or place in path.parents for path in guarded for place in places):
            raise ConfigurationError(
                f"mount {mount.source!r} holds the place of a container engine's socket, which is root on its host: "
                "mount a directory below it that does not"
            )
        if source.is_socket():
            raise ConfigurationError(f"mount {mount.source!r} is a socket: machines get files and directories only")


class Held(BaseModel):
    """What is written on the container, so that any program can go on with it."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    reach: Reach
    uid: int
    gid: int
    network: Network
    allowed: tuple[str, ...] | None = None
    """The hosts that a proxy lets through, with the network `none`."""
    limits: Limits
    read_only: bool = False
    image: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A container that is to be made."""

    name: str
    held: Held
    envs: Mapping[str, str]
    mounts: Sequence[Mount]
    labels: Mapping[str, str]

    def configuration(self) -> dict[str, Any]:
        """The body of the engine's request to create it (Engine API, ContainerCreate)."""
        held = self.held
        return {
            "Image": held.image,
            "User": f"{held.uid}:{held.gid}",
            "WorkingDir": "/",
            "Hostname": "gitmachine",
            "Env": [f"{name}={value}" for name, value in {**_own_environment(held), **self.envs}.items()],
            "Labels": {**self.labels, LABEL: held.model_dump_json()},
            # A volume: fast, in reach of the engine while the container is stopped, and there when the system is
            # read-only. It goes with the container.
            "Volumes": {UPLOAD_TO: {}},
            "HostConfig": self._host_configuration(),
            **self._process(),
        }

    def _process(self) -> dict[str, Any]:
        if self.held.reach == "exec":
            lifetime = self.held.limits.lifetime_s
            script = f"sleep {lifetime:.0f} & wait $!" if lifetime else _WAIT_FOR_EVER
            return {"Entrypoint": ["/bin/sh", "-c", script], "Cmd": []}
        # RLIMIT_NPROC would count whatever else that user number runs on the engine's host (getrlimit(2)).
        limits = self.held.limits.model_copy(update={"processes": None})
        arguments = limits.agent_arguments(by_cgroup=frozenset({"memory", "cpus"}))
        arguments += [f"filters={_OURS}", *([] if self.held.read_only else ["disk_system=1"])]
        return {"Entrypoint": ["python3", "-I", "-S", f"{_OURS}/agent.py", SOCKET], "Cmd": arguments}

    def _host_configuration(self) -> dict[str, Any]:
        limits = self.held.limits
        # An engine may not raise its own limits, and then fails to start anything; the agent takes what it can get.
        ulimits = {"core": 0, "fsize": limits.file_bytes} if self.held.reach == "exec" else {}
        return {
            "NetworkMode": self.held.network,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "ReadonlyRootfs": self.held.read_only,
            "Init": self.held.reach == "exec",
            "IpcMode": "private",
            "ShmSize": _SHM_BYTES,
            "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={limits.tmp_bytes}"},  # noqa: S108
            "Mounts": [
                {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
                for mount in self.mounts
            ],
            "Memory": limits.memory_bytes or 0,
            "MemorySwap": limits.memory_bytes or 0,
            "NanoCpus": int((limits.cpus or 0) * 1e9),
            "PidsLimit": limits.processes or 0,
            "Ulimits": [
                {"Name": name, "Soft": value, "Hard": value} for name, value in ulimits.items() if value is not None
            ],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        }

    def files(self) -> bytes:
        """An archive for `UPLOAD_TO`: the home directory, the agent and the relay, with their owners."""
        held = self.held
        with io.BytesIO() as buffer:
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                _add(archive, "user", (held.uid, held.gid), mode=0o755)
                _add(archive, ".gitmachine", (0, 0), mode=0o755)
                # The agent makes its socket here; then the relay, whose directory it is, closes it to everybody.
                _add(archive, ".gitmachine/run", (RELAY_USER, held.gid), mode=0o770)
                for source in (AGENT, RELAY):
                    _add(archive, f".gitmachine/{source.name}", (0, 0), mode=0o644, content=source.read_bytes())
                for processor in seccomp.PROCESSORS:  # which one it is, only the engine knows
                    code = seccomp.program(processor)
                    _add(archive, f".gitmachine/{processor}.filter", (0, 0), mode=0o644, content=code)
            return buffer.getvalue()


def _own_environment(held: Held) -> dict[str, str]:
    """The machine's variables, but for PATH: that is the image's."""
    proxy = {} if held.allowed is None else proxy_environment(held.allowed, launching.PORT)
    return {name: value for name, value in base_environment(HOME).items() if name != "PATH"} | proxy


def _add(
    archive: tarfile.TarFile, name: str, owner: tuple[int, int], *, mode: int, content: bytes | None = None
) -> None:
    entry = tarfile.TarInfo(name)
    entry.uid, entry.gid = owner
    entry.mode = mode
    if content is None:
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
    else:
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
