"""The command as a user has it: a program of its own, in a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkouts import checkout as checkout
from tests.support.checkouts import git as git

GITMACHINE = str(Path(sys.executable).with_name("gitmachine"))
LIMIT_S = 60.0


@dataclass(frozen=True)
class CommandLine:
    """Runs `gitmachine` somewhere, with an environment of its own."""

    directory: Path
    env: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    """A program that starts it, with its arguments."""

    def __call__(self, *words: str, exits: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [GITMACHINE, *words],
            cwd=self.directory,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert done.returncode == exits, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *words: str, exits: int = 0) -> Any:
        return json.loads(self(*words, "--json", exits=exits).stdout)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.before, GITMACHINE, *words],
            cwd=self.directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def wait_until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


@pytest.fixture
def gitmachine(checkout: Path, state_dir: Path) -> CommandLine:
    del state_dir  # in force by the environment
    names = ("PATH", "HOME", "TMPDIR", "GITMACHINE_HOME", "LANG")
    return CommandLine(checkout, {name: os.environ[name] for name in names if name in os.environ})
