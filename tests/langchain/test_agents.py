"""Whole agents on a real repository: they fix a failing test, wait for approval, are cancelled and crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command

from gitmachine import GitMachine, LocalMachine, sync
from langchain_gitmachine import GitMachineToolkit, gitmachine_backend, names
from tests.langchain.scripted import ScriptedModel, answers, calls, model, says
from tests.support.git_server import TOKEN, Repository

HUMAN: Any = {"messages": [("human", "make the test pass")]}
FIXED = "def add(a, b):\n    return a + b\n"


def the_fix() -> list[AIMessage]:
    """What a good agent does."""
    return [
        calls(names.RUN, command="python3 -B check.py"),
        calls(names.READ_FILE, path="calc.py"),
        calls(names.EDIT_FILE, path="calc.py", old="a - b", new="a + b"),
        calls(names.RUN, command="python3 -B check.py"),
        calls(names.COMMIT, message="Add, do not subtract"),
        calls(names.PUSH),
        says("Fixed."),
    ]


def check(state: dict[str, Any], project: Repository) -> None:
    """The agent saw the test fail and pass, and the remote has its work."""
    codes = [m.artifact["exit_code"] for m in answers(state) if m.name == names.RUN]
    assert codes == [1, 0]
    assert project.git("show", "fix-1:calc.py") + "\n" == FIXED
    assert project.git("log", "-1", "--format=%s", "fix-1") == "Add, do not subtract"
    assert state["messages"][-1].content == "Fixed."


async def check_history(gm: GitMachine, state: dict[str, Any], tool_name: str) -> None:
    """Each command of the history is the tool call's that asked for it."""
    asked = [("langchain", message.tool_call_id) for message in answers(state) if message.name == tool_name]
    assert asked
    assert [(entry.actor, entry.call) for entry in await gm.history() if entry.kind == "command"] == asked


async def test_an_agent_fixes_a_failing_test(gm: GitMachine, project: Repository) -> None:
    agent = create_agent(model(*the_fix()), GitMachineToolkit(machine=gm).get_tools())
    state = await agent.ainvoke(HUMAN)
    check(state, project)
    await check_history(gm, state, names.RUN)


def test_so_does_one_without_await(plain: sync.GitMachine, project: Repository) -> None:
    agent = create_agent(model(*the_fix()), GitMachineToolkit(machine=plain).get_tools())
    check(agent.invoke(HUMAN), project)


async def test_so_does_a_graph_with_a_checkpointer(gm: GitMachine, project: Repository) -> None:
    kit = GitMachineToolkit(machine=gm).get_tools()
    chat = model(*the_fix())

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await chat.bind_tools(kit).ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(kit))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition, {"tools": "tools", END: END})
    graph.add_edge("tools", "think")
    app = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "T-1"}}
    check(await app.ainvoke(HUMAN, config), project)
    kept = await app.aget_state(config)  # artifacts are plain data, which every checkpointer can keep
    assert [m.artifact["exit_code"] for m in answers(kept.values) if m.name == names.RUN] == [1, 0]


def deep_fix(path: str) -> list[AIMessage]:
    """The same with the tools of deepagents."""
    return [
        calls("execute", command="python3 -B check.py"),
        calls("read_file", file_path=f"{path}/calc.py"),
        calls("edit_file", file_path=f"{path}/calc.py", old_string="a - b", new_string="a + b"),
        calls("execute", command="python3 -B check.py"),
        calls("execute", command="seq 1 200000"),
        says("Fixed."),
    ]


async def test_so_does_a_deep_agent(gm: GitMachine, project: Repository) -> None:
    from deepagents import create_deep_agent

    agent = create_deep_agent(model=model(*deep_fix(gm.path)), backend=gitmachine_backend(gm))
    state = await agent.ainvoke(HUMAN)
    await _check_deep(gm, state)
    await check_history(gm, state, "execute")
    await gm.commit("Add, do not subtract")
    await gm.push()
    assert project.git("show", "fix-1:calc.py") + "\n" == FIXED


async def _check_deep(gm: GitMachine, state: Any) -> None:
    texts = [str(message.content) for message in answers(state)]
    assert "AssertionError" in texts[0]
    assert "return a - b" in texts[1]
    assert "ok" in texts[3]
    assert len(texts[4]) < 30_000
    kept = await gm.machine.execute("cat /tmp/gitmachine/large_tool_results/*")
    assert kept.stdout.endswith("199999\n200000\n")
    assert "large_tool_results" not in await gm.machine.list_files("/")
    assert [change.path for change in (await gm.status()).changes] == ["calc.py"]
    assert [entry.command for entry in gm.logs()] == ["python3 -B check.py", "python3 -B check.py", "seq 1 200000"]


def test_so_does_a_deep_agent_without_await(plain: sync.GitMachine) -> None:
    from deepagents import create_deep_agent

    agent = create_deep_agent(model=model(*deep_fix(plain.path)), backend=gitmachine_backend(plain))
    state = agent.invoke(HUMAN)
    plain.owner.run(_check_deep(plain.asynchronous, state))


# --- approval ------------------------------------------------------------------------------------------------


def _careful(gm: GitMachine, *script: AIMessage) -> Any:
    return create_agent(
        model(*script),
        GitMachineToolkit(machine=gm).get_tools(),
        middleware=[HumanInTheLoopMiddleware(interrupt_on={names.PUSH: True})],
        checkpointer=InMemorySaver(),
    )


@pytest.mark.parametrize("decision", ["approve", "reject"])
async def test_a_push_waits_for_approval(gm: GitMachine, project: Repository, decision: str) -> None:
    agent = _careful(gm, *the_fix()[2:])
    config: Any = {"configurable": {"thread_id": "T-1"}}
    stopped = await agent.ainvoke(HUMAN, config)
    assert stopped["__interrupt__"][0].value["action_requests"][0]["name"] == names.PUSH
    assert "fix-1" not in project.heads()
    await agent.ainvoke(Command(resume={"decisions": [{"type": decision}]}), config)
    assert ("fix-1" in project.heads()) is (decision == "approve")


# --- the ways an agent can end -------------------------------------------------------------------------------


@tool
def broken() -> str:
    """Fails."""
    raise RuntimeError("a tool of somebody else's is broken")


def _writes() -> AIMessage:
    return calls(names.WRITE_FILE, path="work.txt", content="work\n")


@pytest.fixture
async def machines_left(state_dir: Path) -> AsyncIterator[None]:
    """After the test no machine may be left."""
    yield
    assert await LocalMachine.list() == []


@pytest.mark.usefixtures("machines_left")
@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([_writes(), RuntimeError("the model is gone")], RuntimeError),
        ([_writes(), calls("broken")], RuntimeError),
        ([_writes(), *(calls(names.STATUS) for _ in range(20))], GraphRecursionError),
    ],
    ids=["the model raises", "a tool raises", "the recursion limit"],
)
async def test_a_crash_leaves_no_machine_and_loses_no_work(
    project: Repository, script: list[Any], error: type[Exception]
) -> None:
    async def work() -> None:
        async with GitMachine(LocalMachine(), project.url, TOKEN, session="fix-1") as gm:
            agent = create_agent(model(*script), [*GitMachineToolkit(machine=gm).get_tools(), broken])
            await agent.ainvoke(HUMAN, {"recursion_limit": 9})

    with pytest.raises(error):
        await work()
    assert project.git("show", "fix-1:work.txt") == "work"


@pytest.mark.usefixtures("machines_left")
async def test_a_cancelled_agent_leaves_no_machine_and_loses_no_work(project: Repository) -> None:
    up = asyncio.Event()

    async def work() -> None:
        async with GitMachine(LocalMachine(), project.url, TOKEN, session="fix-1") as gm:
            script = model(_writes(), calls(names.RUN, command="echo more >> work.txt; echo up; sleep 4328"))
            agent = create_agent(script, GitMachineToolkit(machine=gm).get_tools())
            async for piece in agent.astream(HUMAN, stream_mode="custom"):
                if piece.get("text") == "up\n":
                    up.set()

    task = asyncio.create_task(work())
    async with asyncio.timeout(30):
        await up.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert project.git("show", "fix-1:work.txt") == "work\nmore"


def test_the_model_is_offered_each_tool_once() -> None:
    chat: ScriptedModel = model(says("nothing to do"))
    kit = GitMachineToolkit(machine=sync.GitMachine(LocalMachine()))
    create_agent(chat, kit.get_tools()).invoke(HUMAN)
    assert [made.name for made in chat.offered] == list(names.ALL_TOOLS)
