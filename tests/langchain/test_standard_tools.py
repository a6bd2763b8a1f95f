"""LangChain's own suites for tools: 11 tests for each of ours, none left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from gitmachine import LocalMachine, MachineState, sync
from langchain_gitmachine import GitMachineToolkit, names
from tests.support.git_server import git

EXAMPLES: dict[str, dict[str, Any]] = {
    names.RUN: {"command": "echo hello", "timeout": 30},
    names.READ_FILE: {"path": "hello.txt"},
    names.WRITE_FILE: {"path": "new.txt", "content": "new\n"},
    names.EDIT_FILE: {"path": "hello.txt", "old": "hello", "new": "hello"},
    names.LIST_FILES: {"path": "."},
    names.STATUS: {},
    names.DIFF: {"stat": True},
    names.LOGS: {"last": 3},
    names.COMMIT: {"message": "A commit"},
    names.PUSH: {},
    names.PULL: {},
    names.PAUSE: {},
    names.RESUME: {},
}
COUNT = {"ToolsUnitTests": 6, "ToolsIntegrationTests": 5}


@pytest.fixture(scope="module")
def session(module_state: Path) -> Iterator[sync.GitMachine]:
    remote = module_state / "remote.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(remote), cwd=module_state)
    with sync.GitMachine(LocalMachine(), str(remote), session="standard") as gm:
        gm.write_file("hello.txt", "hello\n")
        gm.commit("Begin")
        yield gm
        if gm.state is MachineState.PAUSED:
            gm.resume()


class _OfASession:
    """What both suites need to know of a tool; its session is in the state that the tool is for."""

    tool_name: str
    made: BaseTool

    @pytest.fixture(autouse=True)
    def prepared(self, session: sync.GitMachine) -> None:
        wanted = MachineState.PAUSED if self.tool_name == names.RESUME else MachineState.RUNNING
        if session.state is not wanted:
            session.pause() if wanted is MachineState.PAUSED else session.resume()
        (self.made,) = GitMachineToolkit(machine=session).get_tools(include=[self.tool_name])

    @property
    def tool_constructor(self) -> BaseTool:
        return self.made

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        return {}

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return EXAMPLES[self.tool_name]


def _suite(name: str, base: type) -> type:
    title = "".join(word.title() for word in name.split("_")[1:])
    return type(f"Test{title}{base.__name__.removeprefix('Tools')}", (_OfASession, base), {"tool_name": name})


for _name in names.ALL_TOOLS:
    for _base in (ToolsUnitTests, ToolsIntegrationTests):
        _class = _suite(_name, _base)
        globals()[_class.__name__] = _class
del _name, _base, _class


def test_every_tool_goes_through_every_standard_test() -> None:
    for name in names.ALL_TOOLS:
        for base in (ToolsUnitTests, ToolsIntegrationTests):
            suite = globals()[_suite(name, base).__name__]
            tests = [member for member in dir(suite) if member.startswith("test_")]
            assert len(tests) == COUNT[base.__name__], (name, tests)
