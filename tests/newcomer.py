"""`python -m tests.newcomer`: what the README says, from a clean clone to a first session, and the seconds.

The commands are taken from the README: its first block of shell, then its first console, in a checkout of somebody who
knows nothing of us. Home, configuration and state are new; uv's cache is the one that is there. It takes longer than
`LIMIT_S` where that is cold, and says so.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LIMIT_S = 180.0


def main() -> int:
    readme = (PROJECT / "README.md").read_text()
    with tempfile.TemporaryDirectory(prefix="gitmachine-newcomer-", ignore_cleanup_errors=True) as place:
        home = Path(place).resolve()
        home.chmod(0o711)
        env = _environment(home)
        project = _own_project(home, env)
        clone = home / "gitmachine"
        steps = [(f"git clone --quiet {PROJECT} {clone}", home)]
        steps += [(command, clone) for command in commands(readme, "sh")]
        steps += [(command, project) for command in commands(readme, "console")]
        total = sum(_timed(command, directory, env) for command, directory in steps)
        branches = _out(["git", "branch", "--list", "gitmachine/*"], project, env)
        assert re.search(r"gitmachine/\S+", branches), "the session's branch is not there"
    print(f"{total:6.1f} s  from a clean clone to a first session; at most {LIMIT_S:g} s")
    return 0 if total <= LIMIT_S else 1


def commands(readme: str, language: str) -> list[str]:
    """Those of the first block of that language."""
    block = readme.partition(f"```{language}\n")[2].partition("```")[0]
    lines = block.splitlines()
    if language == "console":
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line.partition("  #")[0].strip() for line in lines]


def _environment(home: Path) -> dict[str, str]:
    """As after logging in: ~/.local/bin is on the path."""
    cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
    kept = {name: value for name, value in os.environ.items() if re.match(r"PIP_|UV_(?!TOOL)|.*_proxy$|SSL_", name)}
    path = f"{home}/.local/bin{os.pathsep}{os.environ['PATH']}"
    return {**kept, "UV_CACHE_DIR": cache, "HOME": str(home), "PATH": path, "LANG": "C.UTF-8"} | {
        "GITMACHINE_HOME": f"{home}/state",
        "XDG_DATA_HOME": f"{home}/.local/share",
    }


def _own_project(home: Path, env: dict[str, str]) -> Path:
    project = home / "project"
    project.mkdir()
    (project / "hello.txt").write_text("hello\n")
    identity = ("-c", "user.name=Alice", "-c", "user.email=alice@example.org")
    for words in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "-m", "Begin")):
        _out(["git", *words], project, env)
    return project


def _timed(command: str, directory: Path, env: dict[str, str]) -> float:
    begun = time.monotonic()
    subprocess.run(command, shell=True, cwd=directory, env=env, check=True, stdout=sys.stderr)
    seconds = time.monotonic() - begun
    print(f"{seconds:6.1f} s  {command}", flush=True)
    return seconds


def _out(argv: list[str], directory: Path, env: dict[str, str]) -> str:
    return subprocess.run(argv, cwd=directory, env=env, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
