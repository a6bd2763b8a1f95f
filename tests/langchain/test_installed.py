"""What a user of the extras gets: the wheel, in an environment with nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.test_packaging import PROJECT, _applies, _copy, _python, environment, requirements, wheel

__all__ = ["environment", "requirements", "wheel"]

CONSUMER = Path(__file__).with_name("consumer.py")
NOT_OURS = "[mypy-langchain.*,langchain_core.*,langgraph.*,deepagents.*]\nfollow_imports = skip\n"
"""Reading all of LangChain would take a minute; with its own types the tests themselves are checked."""


@pytest.fixture(scope="module")
def with_extras(environment: Path, requirements: list[Requirement]) -> Path:
    """The same environment with what the extras bring."""
    (site,) = environment.glob("lib/python3*/site-packages")
    waiting = [need for need in requirements if _applies(need, "langchain") or _applies(need, "deepagents")]
    seen: set[str] = set()
    while waiting:
        need = waiting.pop()
        if need.name in seen or need.name == "gitmachine-sdk":
            continue
        seen.add(need.name)
        _copy(metadata.distribution(need.name), site)
        further = [Requirement(text) for text in metadata.requires(need.name) or []]
        waiting += [one for one in further if any(_applies(one, extra) for extra in ("", *need.extras))]
    assert {"langchain-core", "langgraph", "deepagents"} <= seen
    return environment


# The first test sees the environment before the extras are in it.


def test_without_the_extra_the_error_names_it(environment: Path) -> None:
    said = _python(
        environment,
        "try:\n    import langchain_gitmachine\n"
        "except ImportError as error:\n    print(type(error).__name__, error)\nelse:\n    print('imported')",
    )
    assert said.startswith("MissingExtra")
    assert "gitmachine-sdk[langchain]" in said


def test_the_sync_api_needs_no_extra(environment: Path) -> None:
    loaded = _python(environment, "import gitmachine.sync, sys; print(*sys.modules)").split()
    assert not {name.partition(".")[0] for name in loaded} & {"langchain_core", "langgraph", "langchain"}


def test_with_the_extras_every_name_is_there(with_extras: Path) -> None:
    code = "from langchain_gitmachine import *; print(*dir())"
    command = [str(with_extras / "bin/python"), "-I", "-c", code]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout
    assert "GitMachineToolkit" in said
    assert "gitmachine_backend" in said


def test_a_users_program_passes_strict_type_checks(with_extras: Path, tmp_path: Path) -> None:
    """By mypy and by pyright, against the wheel; `make check` does it against the checkout."""
    shutil.copy(CONSUMER, tmp_path)
    python = str(with_extras / "bin/python")
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = true\npython_executable = {python}\n{NOT_OURS}")
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["pyright"]
    strict = {name: value for name, value in settings.items() if not name.startswith("venv")}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({**strict, "include": ["consumer.py"]}))
    checks = [
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "consumer.py"],
        [sys.executable, "-m", "pyright", "--pythonpath", python],
    ]
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
    with ThreadPoolExecutor() as side_by_side:
        for done in side_by_side.map(run, checks):
            assert done.returncode == 0, done.stdout + done.stderr
