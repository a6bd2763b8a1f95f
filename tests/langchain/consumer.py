"""A program of a user, for type checkers: read by them as he would have it, run by nobody."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from gitmachine import GitMachine, LocalMachine
from gitmachine.sync import GitMachine as SyncGitMachine
from langchain_gitmachine import (
    GitMachineMiddleware,
    GitMachineSandbox,
    GitMachineToolkit,
    ToolLimits,
    gitmachine_backend,
    names,
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
