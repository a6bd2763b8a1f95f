"""Starts the proxy of a machine as a process of its own, beside the machine, that outlives this program."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import gitmachine
from gitmachine.errors import MachineError

PORT = 3128
"""Where the machine's programs find the proxy, on the machine's own loopback."""
JOURNAL = "network.jsonl"
_LOG = "network.log"
_LAUNCH_LIMIT_S = 40.0

# The package without its __init__, which loads what a proxy does not need.
_BOOT = (
    "import sys, types; package = types.ModuleType('gitmachine'); package.__path__ = [sys.argv.pop(1)]; "
    "sys.modules['gitmachine'] = package; from importlib import import_module; import_module(sys.argv.pop(1)).main()"
)
# Nobody's child, so that it outlives whoever started it; it ends by itself, with the machine.
_DETACH = '"$@" </dev/null >/dev/null &'


@dataclass(frozen=True, slots=True)
class Plan:
    """What one proxy is to be."""

    directory: Path
    """The machine's, on the host: what was refused is kept in it."""
    main: str
    """The module whose `main` serves."""
    settings: Mapping[str, object]
    """What it is told beside the descriptors `journal` and `ready`, `allowed` and `user`."""
    allowed: tuple[str, ...]
    user: tuple[int, int] | None = None
    """Whom root's proxy becomes before it reads from the machine: uid and gid."""
    descriptors: tuple[int, ...] = ()
    """Those that are named in `settings`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    packages: bool = False
    """It needs more than the standard library."""


def launch(plan: Plan) -> tuple[int, int]:
    """Process id and start time of a proxy that serves. Blocks for some 100 ms. Raises MachineError."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    with ExitStack() as stack:

        def kept(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        journal = kept(os.open(plan.directory / JOURNAL, flags, 0o600))
        log = kept(os.open(plan.directory / _LOG, flags | os.O_TRUNC, 0o600))
        reader, writer = os.pipe()
        kept(reader)
        ours = stack.enter_context(os.fdopen(writer, "wb"))
        settings = {**plan.settings, "journal": journal, "ready": writer, "allowed": plan.allowed, "user": plan.user}
        given = kept(_in_memory(json.dumps(settings).encode()))
        _start(plan, (*plan.descriptors, journal, writer, given), given, log)
        ours.close()
        return _ready(reader, plan.directory / _LOG)


def _in_memory(content: bytes) -> int:
    fd = os.memfd_create("gitmachine-proxy", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _start(plan: Plan, inherited: tuple[int, ...], settings: int, log: int) -> None:
    package = str(Path(gitmachine.__file__).parent)
    isolated = ["-I"] if plan.packages else ["-I", "-S"]
    # The directory is for whoever looks at the host's processes: it says whose proxy this is.
    python = [sys.executable, *isolated, "-c", _BOOT, package, plan.main, str(settings), str(plan.directory)]
    subprocess.run(
        ["/bin/sh", "-c", _DETACH, "gitmachine", *python],
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **plan.environment},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        pass_fds=inherited,
        start_new_session=True,
        timeout=_LAUNCH_LIMIT_S,
        check=True,
    )


def _ready(reader: int, log: Path) -> tuple[int, int]:
    deadline = time.monotonic() + _LAUNCH_LIMIT_S
    text = b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(reader, 4096) if ready else b""
        if not data:
            said = ""
            with suppress(OSError):
                said = " ".join(log.read_text(errors="replace").split())[-400:]
            raise MachineError(f"the machine's network proxy did not start: {said or 'it gave no reason'}")
        text += data
    pid, began = json.loads(text)
    return pid, began
