"""A user's own checkout of a small repository, and git in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def git(directory: Path, *words: str) -> str:
    identity = {
        f"GIT_{who}_{what}": f"{who}@x.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **identity}
    done = subprocess.run(["git", *words], cwd=directory, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A user's checkout with a commit on `main`."""
    path = tmp_path / "project"
    (path / "src").mkdir(parents=True)
    (path / "hello.txt").write_text("hello\n")
    (path / "src" / "deep.txt").write_text("deep\n")
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "-m", "Begin")
    return path
