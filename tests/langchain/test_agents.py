"""Whole agents on a real repository: they fix a failing test, wait for approval, are cancelled and crash.

Each in LangChain's `create_agent`, in a LangGraph graph with a checkpointer and in `create_deep_agent`. Afterwards no
machine is left and all work is on the remote.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.errors import GraphRecursionError
from langgraph.types import Command

from gitmachine import ExecuteOptions, GitMachine, LocalMachine, sync
from langchain_gitmachine import GitMachineToolkit, gitmachine_backend, names
from tests.langchain.kinds import KINDS, Kind
from tests.langchain.scripted import ScriptedModel, answers, calls, model, says
from tests.support.git_server import TOKEN, Repository

HUMAN: Any = {"messages": [("human", "make the test pass")]}
THREAD: Any = {"configurable": {"thread_id": "T-1"}}
FIXED = "def add(a, b):\n    return a + b\n"
CHECK = "python3 -B check.py"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(autouse=True)
async def machines_left(state_dir: Path) -> AsyncIterator[None]:
    """After every test no machine may be left."""
    yield
    assert await LocalMachine.list() == []


def opened(project: Repository, session: str = "fix-1") -> GitMachine:
    return GitMachine(LocalMachine(), project.url, TOKEN, session=session)


def decided(decision: str) -> Command[Any]:
    return Command(resume={"decisions": [{"type": decision}]})


async def test_it_fixes_a_failing_test_and_a_person_lets_it_push(kind: Kind, project: Repository) -> None:
    """The first time the person says no: nothing is pushed, and the agent hears of it and asks again."""
    async with opened(project) as gm:
        script = model(
            kind.run(CHECK),
            *kind.look_and_mend(gm),
            kind.run(CHECK),
            calls(names.COMMIT, message="Add, do not subtract"),
            calls(names.PUSH),
            calls(names.PUSH),
            says("Fixed."),
        )
        agent = kind.build(gm, script)
        for said in (HUMAN, decided("reject")):
            waiting = await agent.ainvoke(said, THREAD)
            assert waiting["__interrupt__"][0].value["action_requests"][0]["name"] == names.PUSH
            assert "fix-1" not in project.heads()
        state = await agent.ainvoke(decided("approve"), THREAD)
        assert project.git("show", "fix-1:calc.py") + "\n" == FIXED
        assert project.git("log", "-1", "--format=%s", "fix-1") == "Add, do not subtract"
        ran = [message for message in answers(state) if message.name == kind.run_tool]
        assert "AssertionError" in str(ran[0].content)
        assert "ok" in str(ran[1].content)
        pushes = [message for message in answers(state) if message.name == names.PUSH]
        assert [message.status for message in pushes] == ["error", "success"]
        assert state["messages"][-1].content == "Fixed."
        # Artifacts are plain data, which every checkpointer can keep.
        kept = answers((await agent.aget_state(THREAD)).values)
        assert [message.artifact for message in kept] == [message.artifact for message in answers(state)]
        assert pushes[1].artifact["where"] == "remote"
        asked = [("langchain", message.tool_call_id) for message in ran]
        assert [(entry.actor, entry.call) for entry in await gm.history() if entry.kind == "command"] == asked


async def test_a_cancelled_agent_loses_no_work(kind: Kind, project: Repository) -> None:
    began: asyncio.Future[GitMachine] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with opened(project) as gm:
            began.set_result(gm)
            script = model(kind.write(gm, "work.txt", "work\n"), kind.run("echo more >> work.txt; sleep 4328"))
            await kind.build(gm, script).ainvoke(HUMAN, THREAD)

    task = asyncio.create_task(work())
    async with asyncio.timeout(60):
        gm = await began
        await gm.machine.execute("until pgrep -f '[s]leep 4328'; do sleep 0.01; done", ExecuteOptions(timeout=30))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert project.git("show", "fix-1:work.txt") == "work\nmore"


@tool
def broken() -> str:
    """Fails."""
    raise RuntimeError("a tool of somebody else's is broken")


CRASHES: dict[str, tuple[type[Exception], list[Any]]] = {
    "the-model-raises": (RuntimeError, [RuntimeError("the model is gone")]),
    "a-tool-raises": (RuntimeError, [calls("broken")]),
    "the-recursion-limit": (GraphRecursionError, [calls(names.STATUS) for _ in range(30)]),
}


async def test_a_crash_loses_no_work(kind: Kind, project: Repository) -> None:
    async def work(crash: str, script: list[Any]) -> None:
        async with opened(project, crash) as gm:
            agent = kind.build(gm, model(kind.write(gm, "work.txt", f"{crash}\n"), *script), broken)
            await agent.ainvoke(HUMAN, {**THREAD, "recursion_limit": 19})

    for crash, (error, script) in CRASHES.items():
        with pytest.raises(error):
            await work(crash, script)
        assert project.git("show", f"{crash}:work.txt") == crash
        assert await LocalMachine.list() == []


# --- without await ------------------------------------------------------------------------------------------------


def the_fix() -> list[AIMessage]:
    """What a good agent does."""
    return [
        calls(names.RUN, command=CHECK),
        calls(names.READ_FILE, path="calc.py"),
        calls(names.EDIT_FILE, path="calc.py", old="a - b", new="a + b"),
        calls(names.RUN, command=CHECK),
        calls(names.COMMIT, message="Add, do not subtract"),
        calls(names.PUSH),
        says("Fixed."),
    ]


def test_an_agent_without_await_fixes_it_too(plain: sync.GitMachine, project: Repository) -> None:
    agent = create_agent(model(*the_fix()), GitMachineToolkit(machine=plain).get_tools())
    state = agent.invoke(HUMAN)
    codes = [m.artifact["exit_code"] for m in answers(state) if m.name == names.RUN]
    assert codes == [1, 0]
    assert project.git("show", "fix-1:calc.py") + "\n" == FIXED
    assert project.git("log", "-1", "--format=%s", "fix-1") == "Add, do not subtract"
    assert state["messages"][-1].content == "Fixed."


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


def test_a_deep_agent_without_await_fixes_it_too_and_keeps_long_output_in_the_machine(plain: sync.GitMachine) -> None:
    from deepagents import create_deep_agent

    agent = create_deep_agent(model=model(*deep_fix(plain.path)), backend=gitmachine_backend(plain))
    state = agent.invoke(HUMAN)
    plain.owner.run(_check_deep(plain.asynchronous, state))


def test_the_model_is_offered_each_tool_once() -> None:
    chat: ScriptedModel = model(says("nothing to do"))
    kit = GitMachineToolkit(machine=sync.GitMachine(LocalMachine()))
    create_agent(chat, kit.get_tools()).invoke(HUMAN)
    assert [made.name for made in chat.offered] == list(names.ALL_TOOLS)
