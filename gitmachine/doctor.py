"""What works on this host, and how to mend what does not."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from gitmachine import settings
from gitmachine.errors import GitMachineError

_OLDEST_PYTHON = (3, 11)
_OLDEST_GIT = (2, 31)
"""The first with GIT_CONFIG_COUNT, by which the host's git gets its configuration (git-config(1))."""
_GIT_IN_MACHINES = Path("/usr/bin/git")
_GIT_LIMIT_S = 10.0
_ENGINE_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True
    """Local machines do not work without it."""


async def examine() -> list[Check]:
    """Everything that local machines need, in the order in which to mend it. Starts one machine to be sure."""
    checks = [_python(), _system(), await _git(), await asyncio.to_thread(_state_directory), _token(), await _engine()]
    checks += [check async for check in _sandbox()]
    if all(check.ok for check in checks if check.needed):
        checks.append(await _machine())
    return checks


def _python() -> Check:
    found = ".".join(str(part) for part in sys.version_info[:3])
    ok = sys.version_info >= _OLDEST_PYTHON
    return Check("Python", ok, f"{found} ({sys.executable})", "" if ok else "install Python 3.11 or later")


def _system() -> Check:
    ok = sys.platform == "linux"
    remedy = "" if ok else "local machines need Linux: use another provider"
    return Check("system", ok, f"{platform.system()} {platform.release()} {platform.machine()}", remedy)


async def _git() -> Check:
    path = shutil.which("git")
    if path is None:
        return Check(
            "git", ok=False, detail="is not installed", remedy="`apt install git`, or your system's equivalent"
        )
    process = await asyncio.create_subprocess_exec(
        path, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(_GIT_LIMIT_S):
        said = (await process.communicate())[0].decode("utf-8", "replace").strip()
    version = tuple(int(number) for number in re.findall(r"\d+", said)[:2])
    if version < _OLDEST_GIT:
        oldest = ".".join(map(str, _OLDEST_GIT))
        return Check("git", ok=False, detail=f"{said} ({path})", remedy=f"install git {oldest} or later")
    if not os.access(_GIT_IN_MACHINES, os.X_OK):
        remedy = f"install it where machines see it: {_GIT_IN_MACHINES}"
        return Check("git", ok=False, detail=f"{said} ({path})", remedy=remedy)
    return Check("git", ok=True, detail=f"{said} ({path})")


def _state_directory() -> Check:
    """Where sessions and vaults are kept: it can be written, and a machine of root can get to it."""
    from gitmachine.machines.local.user import check_reachable, machine_user, make_reachable

    path = settings.load().state_dir
    try:
        make_reachable(path, machine_user())
        check_reachable(path, machine_user())
        with tempfile.NamedTemporaryFile(dir=path):
            mode = stat.S_IMODE(path.stat().st_mode)
    except GitMachineError as error:
        return Check("state directory", ok=False, detail=str(path), remedy=str(error))
    except OSError as error:
        remedy = f"{error.strerror}: set GITMACHINE_HOME to a directory that can be written"
        return Check("state directory", ok=False, detail=str(path), remedy=remedy)
    free_gib = shutil.disk_usage(path).free / 2**30
    remedy = "" if not mode & 0o066 else f"others may look into it: chmod go-rw {path}"
    return Check(
        "state directory", ok=not remedy, detail=f"{path} (mode {mode:04o}, {free_gib:.0f} GiB free)", remedy=remedy
    )


def _token() -> Check:
    found = settings.token_for("github.com") is not None
    said = "a token from the environment" if found else "this host's own git credentials; no token in the environment"
    return Check("credentials", ok=True, detail=said, needed=False)


async def _engine() -> Check:
    """Whether DockerMachine would find an engine; nothing else needs one."""
    from gitmachine.machines.docker.engine import Engine, summary

    try:
        async with asyncio.timeout(_ENGINE_LIMIT_S):
            detail = await summary(Engine(None))
    except TimeoutError:
        detail = f"does not answer within {_ENGINE_LIMIT_S:g} s"
    except GitMachineError as error:
        detail = f"none for DockerMachine: {error}"
    return Check("container engine", ok=True, detail=detail, needed=False)


async def _sandbox() -> AsyncIterator[Check]:
    from gitmachine.machines.local.probe import findings

    for finding in await findings():
        yield Check(finding.name, finding.ok, finding.detail, finding.remedy)


async def _machine() -> Check:
    """Starts a machine, runs a command in it and ends it."""
    from gitmachine.machines.local import LocalMachine

    machine = LocalMachine()
    started = time.monotonic()
    try:
        await machine.start()
        try:
            result = await machine.execute("git --version")
        finally:
            await machine.stop()
    except GitMachineError as error:
        return Check("machine", ok=False, detail="does not start", remedy=str(error))
    if not result.ok:
        return Check("machine", ok=False, detail="cannot run git", remedy=result.stderr.strip())
    return Check(
        "machine", ok=True, detail=f"started, ran {result.stdout.strip()}, ended in {time.monotonic() - started:.2f} s"
    )
