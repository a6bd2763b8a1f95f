"""What a user of the extras gets: the wheel, in an environment with nothing else."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.test_packaging import _applies, _copy, _python, environment, requirements, wheel

__all__ = ["environment", "requirements", "wheel"]

CONSUMER = """
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from gitmachine import GitMachine, LocalMachine
from gitmachine.sync import GitMachine as SyncGitMachine
from langchain_gitmachine import (
    GitMachineMiddleware, GitMachineSandbox, GitMachineToolkit, ToolLimits, gitmachine_backend, names,
)


async def agent(model: BaseChatModel) -> None:
    async with GitMachine(LocalMachine(), session="a") as gm:
        toolkit = GitMachineToolkit(machine=gm, limits=ToolLimits(timeout=5))
        tools: list[BaseTool] = toolkit.get_tools(exclude=[names.PUSH])
        create_agent(model, tools, middleware=[HumanInTheLoopMiddleware(interrupt_on={names.PUSH: True})])
        gitmachine_backend(gm)


def plain(model: BaseChatModel) -> str:
    with GitMachineMiddleware(LocalMachine, "https://example.com/a.git", idle_timeout=60) as sessions:
        create_agent(model, middleware=[sessions])
    with SyncGitMachine(LocalMachine(), timeout=3) as gm:
        sha: str | None = gm.commit("message")
        code: int = gm.run("true", timeout=1).exit_code
        return f"{sha}{code}{gm.diff(stat=True)}{GitMachineSandbox(gm).id}"
"""


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


def test_a_users_program_passes_a_strict_type_check(with_extras: Path, tmp_path: Path) -> None:
    (tmp_path / "consumer.py").write_text(CONSUMER)
    python = str(with_extras / "bin/python")
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = true\npython_executable = {python}\n{NOT_OURS}")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "consumer.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
