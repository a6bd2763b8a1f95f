"""What a call through a door costs over the same call of the library."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from bench.measure import Effort, Plan, Row, rounds
from bench.registry import Place
from gitmachine import GitMachine, LocalMachine, sync
from langchain_gitmachine import GitMachineSandbox, GitMachineToolkit, names

AIM_MCP_MS, AIM_LANGCHAIN_MS = 5.0, 3.0
MCP_SERVER = str(Path(sys.executable).with_name("gitmachine-mcp"))


def environment() -> dict[str, str]:
    """What a server gets of ours."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "GITMACHINE_HOME") if name in os.environ}


async def doors(place: Place) -> list[Row]:
    repository = place.repositories.of(50)
    effort = Effort(samples=60, fewest=40, seconds=10.0)
    rows = await _mcp(repository, effort)
    rows += await _langchain(repository, effort)
    return [*rows, await asyncio.to_thread(_without_await, repository, effort)]


async def _mcp(repository: Path, effort: Effort) -> list[Row]:
    """On stdio; two sessions on the same repository, one for each side."""
    gm = GitMachine(LocalMachine(), str(repository), session="bench-library")
    words = ["--repo", str(repository), "--branch", "bench-mcp"]
    server = StdioServerParameters(command=MCP_SERVER, args=words, env=environment())
    async with gm, Client(server) as client:
        await client.call_tool("start", {})
        run = await rounds(
            {"ours": lambda: client.call_tool("run", {"command": "true"}), "floor": lambda: gm.run("true")}, effort
        )
        diff = await rounds({"ours": lambda: client.call_tool("diff", {}), "floor": gm.diff}, effort)
        await client.call_tool("stop", {})
    return [
        run.extra(Plan("MCP tool call: run 'true'", "the library's run('true')", AIM_MCP_MS)),
        diff.extra(Plan("MCP tool call: diff", "the library's diff()", AIM_MCP_MS)),
    ]


async def _langchain(repository: Path, effort: Effort) -> list[Row]:
    async with GitMachine(LocalMachine(), str(repository), session="bench-langchain") as gm:
        (tool,) = GitMachineToolkit(machine=gm).get_tools(include=[names.RUN])
        sandbox = GitMachineSandbox(gm)
        taken = await rounds(
            {
                "tool": lambda: tool.ainvoke({"command": "true"}),
                "sandbox": lambda: sandbox.aexecute("true"),
                "floor": lambda: gm.run("true"),
            },
            effort,
        )
    library = "the library's run('true')"
    return [
        taken.extra(Plan("LangChain tool: run 'true', ainvoke", library, AIM_LANGCHAIN_MS), "tool"),
        taken.extra(Plan("deepagents sandbox: aexecute 'true'", library, AIM_LANGCHAIN_MS), "sandbox"),
    ]


def _without_await(repository: Path, effort: Effort) -> Row:
    with sync.GitMachine(LocalMachine(), str(repository), session="bench-langchain-sync") as gm:
        (tool,) = GitMachineToolkit(machine=gm).get_tools(include=[names.RUN])

        async def invoke() -> None:
            tool.invoke({"command": "true"})

        async def run() -> None:
            gm.run("true")

        taken = asyncio.run(rounds({"ours": invoke, "floor": run}, effort))
    plan = Plan("LangChain tool: run 'true', invoke", "gitmachine.sync's run('true')", AIM_LANGCHAIN_MS)
    return taken.extra(plan)
