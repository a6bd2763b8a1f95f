"""What the LangChain door costs: `true` as a tool and as a deep agent's command, over the session itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.measure import Extra, Plan, extra
from gitmachine import GitMachine, LocalMachine, sync
from langchain_gitmachine import GitMachineSandbox, GitMachineToolkit, names

AIM_MS = 3.0


async def calls(repository: Path) -> list[Extra]:
    """With await and without, each pair on one session."""
    figures = []
    async with GitMachine(LocalMachine(), str(repository), session="bench-langchain") as gm:
        (tool,) = GitMachineToolkit(machine=gm).get_tools(include=[names.RUN])
        sandbox = GitMachineSandbox(gm)
        for name, work in (
            ("LangChain tool: run 'true', ainvoke", lambda: tool.ainvoke({"command": "true"})),
            ("deepagents sandbox: aexecute 'true'", lambda: sandbox.aexecute("true")),
        ):
            plan = Plan(name, "the library's run('true')", AIM_MS, samples=60)
            figures.append(await extra(plan, work, lambda: gm.run("true")))
    figures += await asyncio.to_thread(_without_await, repository)
    return figures


def _without_await(repository: Path) -> list[Extra]:
    with sync.GitMachine(LocalMachine(), str(repository), session="bench-langchain-sync") as gm:
        (tool,) = GitMachineToolkit(machine=gm).get_tools(include=[names.RUN])

        async def invoke() -> None:
            tool.invoke({"command": "true"})

        async def run() -> None:
            gm.run("true")

        plan = Plan("LangChain tool: run 'true', invoke", "gitmachine.sync's run('true')", AIM_MS, samples=60)
        return [asyncio.run(extra(plan, invoke, run))]
