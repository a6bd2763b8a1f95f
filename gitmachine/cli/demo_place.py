"""Where the demo happens: a state directory and a remote of its own, both gone afterwards."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import gitmachine
from gitmachine.errors import GitError, MachineUnavailable

_BUILDERS_S = 60.0
_GIT_LIMIT_S = 60.0
_IDENTITY = ("-c", "user.name=GitMachine demo", "-c", "user.email=demo@gitmachine.invalid")


@dataclass(frozen=True, slots=True)
class DemoRemote:
    """A bare repository, and what was put into it."""

    path: Path
    what: str


@asynccontextmanager
async def demo_place() -> AsyncIterator[Path]:
    """A directory for everything, and the state directory in force for this program."""
    # 0711: machines of root run as another user, who has to get to their homes.
    place = Path(tempfile.mkdtemp(prefix="gitmachine-demo-"))
    os.chmod(place, 0o711)  # noqa: S103 - see above
    before = os.environ.get("GITMACHINE_HOME")
    os.environ["GITMACHINE_HOME"] = str(place / "state")
    try:
        yield place
    finally:
        if before is None:
            del os.environ["GITMACHINE_HOME"]
        else:
            os.environ["GITMACHINE_HOME"] = before
        await asyncio.to_thread(_clear, place)


def _clear(place: Path) -> None:
    # Each builder of a spare workspace holds a lock on a file while it works.
    deadline = time.monotonic() + _BUILDERS_S
    for path in place.glob("state/spares/*/*/lock"):
        while time.monotonic() < deadline:
            with suppress(BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            time.sleep(0.02)
    shutil.rmtree(place)


async def make_remote(place: Path) -> DemoRemote:
    """The project's own history where there is one, else a small repository. Raises GitError, MachineUnavailable."""
    remote = place / "remote.git"
    await git("init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    project = Path(gitmachine.__file__).parents[1]
    if (project / "pyproject.toml").is_file() and (project / ".git").exists():
        with suppress(GitError):
            # Works for a detached HEAD, too; one that is shallow or somebody else's gets the small repository.
            await git(
                "-c", f"safe.directory={project}", "push", "--quiet", str(remote), "HEAD:refs/heads/main", cwd=project
            )
            return DemoRemote(remote, "this project's own repository")
    small = place / "small"
    small.mkdir()
    (small / "hello.py").write_text('print("hello")\n')
    await git("init", "--quiet", "--initial-branch=main", cwd=small)
    await git("add", "hello.py", cwd=small)
    await git(*_IDENTITY, "commit", "--quiet", "-m", "Say hello", cwd=small)
    await git("push", "--quiet", str(remote), "HEAD:refs/heads/main", cwd=small)
    return DemoRemote(remote, "a small repository made for this")


async def git(*arguments: str, cwd: Path | None = None) -> str:
    """The output of this host's git on the demo's own repositories, whatever the user's configuration."""
    path = shutil.which("git")
    if path is None:
        raise MachineUnavailable("git is not installed: `apt install git`, or your system's equivalent")
    environment = {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull, "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0",
    }  # fmt: skip
    argv = [path, *arguments]
    done = await asyncio.to_thread(
        subprocess.run,
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=_GIT_LIMIT_S,
    )
    stderr = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0:
        raise GitError("git failed in the demo", argv=argv, exit_code=done.returncode, stderr=stderr)
    return done.stdout.decode("utf-8", "replace").rstrip("\n")
