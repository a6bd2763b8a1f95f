"""No call of the asynchronous path stops the event loop."""

from __future__ import annotations

import time
from typing import Any

import pytest
from blockbuster import BlockingError, blockbuster_ctx
from langchain.agents import create_agent
from langchain_core.tools import tool

from gitmachine import GitMachine
from langchain_gitmachine import GitMachineMiddleware, GitMachineToolkit, gitmachine_backend, names
from tests.langchain.scripted import calls, model, says

HUMAN: Any = {"messages": [("human", "go")]}


@tool
async def blocking() -> str:
    """Blocks."""
    time.sleep(0.01)  # noqa: ASYNC251
    return "done"


async def warm(gm: GitMachine) -> None:
    """What is read once in the life of a program (modules, our scripts) has been read."""
    for made in GitMachineToolkit(machine=gm).get_tools(include=[names.DIFF, names.STATUS, names.PULL]):
        await made.ainvoke({})
    await gm.run("echo > warm.txt")
    await gm.commit()


async def test_what_blocks_is_found() -> None:
    agent = create_agent(model(calls("blocking"), says("ok")), [blocking])
    with blockbuster_ctx(), pytest.raises(BlockingError):
        await agent.ainvoke(HUMAN)


async def test_an_agent_with_all_tools_blocks_nothing(gm: GitMachine) -> None:
    script = model(
        calls(names.RUN, command="seq 1 100000"),
        calls(names.WRITE_FILE, path="a.txt", content="a"),
        calls(names.EDIT_FILE, path="a.txt", old="a", new="b"),
        calls(names.READ_FILE, path="a.txt"),
        calls(names.LIST_FILES),
        calls(names.STATUS),
        calls(names.DIFF),
        calls(names.LOGS),
        calls(names.COMMIT, message="A"),
        calls(names.PUSH),
        calls(names.PULL),
        calls(names.PAUSE),
        calls(names.RESUME),
        says("ok"),
    )
    agent = create_agent(script, GitMachineToolkit(machine=gm).get_tools())
    await warm(gm)
    with blockbuster_ctx():
        async for _ in agent.astream(HUMAN, {"recursion_limit": 50}, stream_mode=["custom", "updates"]):
            pass


async def test_the_middleware_blocks_nothing(gm: GitMachine) -> None:
    script = model(calls(names.RUN, command="true"), says("ok"))
    await warm(gm)
    with blockbuster_ctx():
        async with GitMachineMiddleware(gm.machine.another) as middleware:
            agent = create_agent(script, middleware=[middleware])
            await agent.ainvoke(HUMAN, {"configurable": {"thread_id": "T-1"}})


async def test_a_deep_agent_blocks_nothing(gm: GitMachine) -> None:
    from deepagents import create_deep_agent

    script = model(
        calls("execute", command="seq 1 100000"),
        calls("write_file", file_path=f"{gm.path}/a.txt", content="a"),
        calls("edit_file", file_path=f"{gm.path}/a.txt", old_string="a", new_string="b"),
        calls("read_file", file_path=f"{gm.path}/a.txt"),
        calls("grep", pattern="b", path=gm.path),
        calls("glob", pattern="*.txt", path=gm.path),
        says("ok"),
    )
    agent = create_deep_agent(model=script, backend=gitmachine_backend(gm))
    await warm(gm)
    with blockbuster_ctx():
        await agent.ainvoke(HUMAN)
