"""Why a sandbox cannot be started here, and what would mend it. Also what `doctor` says of this host."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gitmachine.errors import MachineUnavailable
from gitmachine.machines.local import cgroup, seccomp
from gitmachine.machines.local.limits import Limits
from gitmachine.machines.local.user import machine_user

PYTHON = "/usr/bin/python3"
BWRAP_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
_PROBE_LIMIT_S = 20.0

_IN_CONTAINER = (
    "in a container add `--security-opt seccomp=unconfined --security-opt systempaths=unconfined` (and, where "
    "AppArmor is on, `--security-opt apparmor=unconfined`); on a host check that "
    "`sysctl user.max_user_namespaces` is not 0 and `kernel.unprivileged_userns_clone`, if there is one, is 1"
)
_APPARMOR = (
    "this host restricts user namespaces (Ubuntu 23.10 and later). Allow them for bubblewrap alone: write "
    "`abi <abi/4.0>, include <tunables/global> profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }` to "
    "/etc/apparmor.d/bwrap and run `apparmor_parser -r /etc/apparmor.d/bwrap`"
)
_REASONS = (
    ("No permissions to create", "creating namespaces is not permitted", _IN_CONTAINER),
    ("pivot_root: Operation not permitted", "creating namespaces is not permitted", _IN_CONTAINER),
    (
        "Can't mount proc",
        "a fresh /proc cannot be mounted, because this container hides parts of its own",
        "add `--security-opt systempaths=unconfined` to the container",
    ),
    ("setting up uid map: Permission denied", "user namespaces have no rights here", _APPARMOR),
    ("RTM_NEWADDR: Operation not permitted", "user namespaces have no rights here", _APPARMOR),
    ("Creating new namespace failed: Permission denied", "a security module forbids namespaces", _APPARMOR),
    (
        "Resource temporarily unavailable",
        "the limit on processes or namespaces is reached",
        "raise it (`ulimit -u`, `sysctl user.max_user_namespaces`) or stop other processes of this user",
    ),
    ("No space left on device", "a namespace limit is reached", "raise `sysctl user.max_user_namespaces`"),
    (
        "Unknown option",
        "this bubblewrap is too old",
        "install bubblewrap 0.8 or later",
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def unavailable(stderr: str) -> MachineUnavailable:
    """bubblewrap's last words as an error that says what they mean and what to do."""
    said = " ".join(stderr.split())[-400:] or "it gave no reason"
    for text, reason, remedy in _REASONS:
        if text in stderr:
            return MachineUnavailable(f"no sandbox can be started here: {reason} ({said}); {remedy}")
    return MachineUnavailable(f"no sandbox could be started: {said}; `gitmachine doctor` looks at this host")


@cache
def bwrap_path() -> str:
    """Raises MachineUnavailable when bubblewrap or the sandbox's Python is not installed."""
    path = shutil.which("bwrap", path=BWRAP_ENVIRONMENT["PATH"])
    if path is None:
        raise MachineUnavailable("bubblewrap is not installed: `apt install bubblewrap`, or your system's equivalent")
    if not Path(PYTHON).exists():
        raise MachineUnavailable(f"{PYTHON} is not installed: `apt install python3`, or your system's equivalent")
    if not seccomp.supported():
        raise MachineUnavailable(f"there is no system call filter for {os.uname().machine}: use another provider")
    return path


async def findings() -> list[Finding]:
    """What LocalMachine needs and what it would use here, in the order in which to mend it."""
    try:
        bwrap = bwrap_path()
    except MachineUnavailable as error:
        return [Finding("bubblewrap", ok=False, detail="cannot be used", remedy=str(error))]
    found = [Finding("bubblewrap", ok=True, detail=bwrap)]
    refusal = await _try(bwrap)
    if refusal is None:
        found.append(Finding("namespaces", ok=True, detail="user, pid, network, ipc, uts, cgroup"))
    else:
        found.append(Finding("namespaces", ok=False, detail="refused", remedy=str(refusal)))
    user = machine_user()
    said = f"uid {user.uid}, switched to from root" if user.switch else f"uid {user.uid}"
    found.append(Finding("user", ok=True, detail=said))
    return found + await asyncio.to_thread(_group_findings)


async def _try(bwrap: str) -> MachineUnavailable | None:
    user = machine_user()
    namespaces = [f"--unshare-{name}" for name in ("user", "pid", "net", "ipc", "uts", "cgroup")]
    options = [*namespaces, "--disable-userns", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    process = await asyncio.create_subprocess_exec(
        bwrap,
        *options,
        "/usr/bin/true",
        env=BWRAP_ENVIRONMENT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        user=user.uid if user.switch else None,
        group=user.gid if user.switch else None,
        extra_groups=[] if user.switch else None,
    )
    try:
        async with asyncio.timeout(_PROBE_LIMIT_S):
            _, stderr = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return MachineUnavailable("bubblewrap hangs on this host; run `bwrap --ro-bind / / true` to see where")
    return None if process.returncode == 0 else unavailable(stderr.decode("utf-8", "replace"))


def _group_findings() -> list[Finding]:
    limits = Limits(cpus=1)
    groups = cgroup.create(f"probe-{os.getpid()}", limits)
    try:
        freezer = groups.freezer
        kept = limits.described(groups.limits)
    finally:
        cgroup.discard(groups)
    remedy = (
        ""
        if freezer != "sigstop"
        else "for a freezer and limits on whole machines, run below `systemd-run --user --scope -p Delegate=yes`"
    )
    said = "; ".join(f"{name} {value}" for name, value in kept.items())
    return [
        Finding("pause", ok=True, detail=f"by {freezer}", remedy=remedy),
        Finding("limits", ok=True, detail=said),
    ]
