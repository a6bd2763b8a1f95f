"""GitMachineMiddleware: a session for each thread, and its life."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from gitmachine import ConfigurationError, GitMachine, LocalMachine, MachineState, StateError
from langchain_gitmachine import GitMachineMiddleware, branch_for, names
from tests import leaks
from tests.langchain.scripted import answers, calls, model, says
from tests.support.git_server import TOKEN, Repository

HUMAN: Any = {"messages": [("human", "go")]}


def thread(name: str, **more: Any) -> Any:
    return {"configurable": {"thread_id": name}, **more}


def write(name: str) -> Any:
    return calls(names.WRITE_FILE, path=f"{name}.txt", content=f"{name}\n")


@pytest.fixture
def middleware(project: Repository, state_dir: Path) -> Iterator[GitMachineMiddleware]:
    with GitMachineMiddleware(LocalMachine, project.url, TOKEN) as made:
        yield made
    assert asyncio.run(LocalMachine.list()) == []


async def test_two_threads_work_on_two_branches_and_each_comes_back_to_its_own(
    middleware: GitMachineMiddleware, project: Repository
) -> None:
    chat = model(write("one"), says("ok"), write("two"), says("ok"), calls(names.LIST_FILES), says("ok"))
    agent = create_agent(chat, middleware=[middleware], checkpointer=InMemorySaver())
    first = await agent.ainvoke(HUMAN, thread("T-1"))
    second = await agent.ainvoke(HUMAN, thread("T-2"))
    assert first["gitmachine"]["session"] == branch_for("T-1") != second["gitmachine"]["session"]
    assert first["gitmachine"]["pushed"] == "remote"
    heads = project.heads()
    assert heads[branch_for("T-1")] == first["gitmachine"]["commit"]
    assert project.git("show", f"{branch_for('T-1')}:one.txt") == "one"
    assert "two.txt" not in project.git("ls-tree", "--name-only", branch_for("T-1"))
    again = await agent.ainvoke(HUMAN, thread("T-1"))
    listed = answers(again)[-1].artifact["names"]
    assert "one.txt" in listed
    assert "two.txt" not in listed


def test_it_works_without_await(middleware: GitMachineMiddleware, project: Repository) -> None:
    agent = create_agent(model(write("one"), says("ok")), middleware=[middleware])
    agent.invoke(HUMAN, thread("T-1"))
    assert project.git("show", f"{branch_for('T-1')}:one.txt") == "one"
    session = middleware.session("T-1")
    assert session is not None
    assert session.run("cat one.txt").stdout == "one\n"


async def test_without_a_thread_id_nothing_is_shared(middleware: GitMachineMiddleware) -> None:
    agent = create_agent(model(says("ok")), middleware=[middleware])
    with pytest.raises(ConfigurationError, match="thread_id"):
        await agent.ainvoke(HUMAN)
    assert await LocalMachine.list() == []


async def test_a_branch_for_two_threads_is_refused(project: Repository, state_dir: Path) -> None:
    async with GitMachineMiddleware(LocalMachine, project.url, TOKEN, branch=lambda _: "same") as middleware:
        agent = create_agent(model(says("ok"), says("ok")), middleware=[middleware])
        await agent.ainvoke(HUMAN, thread("T-1"))
        with pytest.raises(ConfigurationError, match="would share"):
            await agent.ainvoke(HUMAN, thread("T-2"))


def test_wrong_options_are_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="each thread"):
        GitMachineMiddleware(LocalMachine, session="one")
    with pytest.raises(ConfigurationError, match="checkpoint"):
        GitMachineMiddleware(LocalMachine, checkpoint="sometimes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"), [("T-1", "t-1"), ("a b", "a-b"), ("a/b", "a-b"), ("ä", "ö"), ("x" * 300, "x" * 301), ("..", ".")]
)
def test_no_two_thread_ids_give_one_branch(one: str, other: str) -> None:
    assert branch_for(one) != branch_for(other)
    assert branch_for(one) == branch_for(one)


def test_a_plain_thread_id_is_the_branchs_name() -> None:
    uuid = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    assert branch_for(uuid) == f"gitmachine/{uuid}"


async def test_a_crash_ends_no_session_and_the_next_turn_goes_on(middleware: GitMachineMiddleware) -> None:
    chat = model(write("one"), RuntimeError("gone"), calls(names.READ_FILE, path="one.txt"), says("ok"))
    agent = create_agent(chat, middleware=[middleware], checkpointer=InMemorySaver())
    with pytest.raises(RuntimeError, match="gone"):
        await agent.ainvoke(HUMAN, thread("T-1"))
    state = await agent.ainvoke(HUMAN, thread("T-1"))
    assert answers(state)[-1].content == "one\n"
    assert len(await LocalMachine.list()) == 1


async def test_closing_after_a_crash_leaves_no_machine_and_loses_no_work(project: Repository, state_dir: Path) -> None:
    async with GitMachineMiddleware(LocalMachine, project.url, TOKEN) as middleware:
        agent = create_agent(model(write("one"), RuntimeError("gone")), middleware=[middleware])
        with pytest.raises(RuntimeError, match="gone"):
            await agent.ainvoke(HUMAN, thread("T-1"))
        assert branch_for("T-1") not in project.heads()
    assert await LocalMachine.list() == []
    assert project.git("show", f"{branch_for('T-1')}:one.txt") == "one"
    with pytest.raises(StateError, match="closed"):
        await create_agent(model(says("ok")), middleware=[middleware]).ainvoke(HUMAN, thread("T-1"))


async def test_a_session_that_is_still_alive_is_taken_up(project: Repository, state_dir: Path) -> None:
    left = GitMachine(LocalMachine(), project.url, TOKEN, session=branch_for("T-1"))
    await left.start()  # by a program that was killed
    await left.run("echo 1 > uncommitted.txt")
    await left.pause()
    async with GitMachineMiddleware(LocalMachine, project.url, TOKEN) as middleware:
        chat = model(calls(names.READ_FILE, path="uncommitted.txt"), says("ok"))
        state = await create_agent(chat, middleware=[middleware]).ainvoke(HUMAN, thread("T-1"))
        assert answers(state)[0].content == "1\n"
        assert state["gitmachine"]["machine"] == left.id
    assert left.state is MachineState.STOPPED


async def test_an_idle_session_ends_by_itself_with_its_work_pushed(project: Repository, state_dir: Path) -> None:
    async with GitMachineMiddleware(LocalMachine, project.url, TOKEN, idle_timeout=0.2, push=False) as middleware:
        agent = create_agent(model(write("one"), says("ok")), middleware=[middleware], checkpointer=InMemorySaver())
        await agent.ainvoke(HUMAN, thread("T-1"))
        assert await asyncio.to_thread(leaks.until, lambda: middleware.session("T-1") is None, 20)
        assert await LocalMachine.list() == []
    assert project.git("show", f"{branch_for('T-1')}:one.txt") == "one"


async def test_a_remote_that_refuses_ends_nothing_and_is_told(
    middleware: GitMachineMiddleware, project: Repository
) -> None:
    project.reject_pushes("no more")
    agent = create_agent(model(write("one"), says("ok")), middleware=[middleware])
    state = await agent.ainvoke(HUMAN, thread("T-1"))
    assert state["gitmachine"]["pushed"] == "vault"
    assert "no more" in str(state["gitmachine"]["reason"])
    project.accept_pushes()


async def test_waiting_for_approval_and_going_on_later(middleware: GitMachineMiddleware, project: Repository) -> None:
    chat = model(write("one"), calls(names.COMMIT, message="One"), calls(names.PUSH), says("ok"))
    ask = HumanInTheLoopMiddleware(interrupt_on={names.PUSH: True})
    agent = create_agent(chat, middleware=[middleware, ask], checkpointer=InMemorySaver())
    await agent.ainvoke(HUMAN, thread("T-1"))
    assert branch_for("T-1") not in project.heads()
    state = await agent.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread("T-1"))
    assert answers(state)[-1].artifact["where"] == "remote"
    assert project.git("show", f"{branch_for('T-1')}:one.txt") == "one"


async def test_the_work_of_somebody_elses_tool_is_made_durable_too(middleware: GitMachineMiddleware) -> None:
    @tool
    def scribble() -> str:
        """Writes by the machine itself, past the session."""
        session = middleware.session("T-1")
        assert session is not None
        session.machine.write_file(f"{session.path}/scribble.txt", "scribble\n")
        return "done"

    agent = create_agent(model(calls("scribble"), RuntimeError("gone")), [scribble], middleware=[middleware])
    with pytest.raises(RuntimeError, match="gone"):
        await agent.ainvoke(HUMAN, thread("T-1"))
    session = middleware.session("T-1")
    assert session is not None
    events = await session.owner.arun(session.asynchronous.events())
    assert [event.name for event in events].count("checkpointed") == 1


async def test_events_of_the_sessions_are_streamed(middleware: GitMachineMiddleware) -> None:
    agent = create_agent(model(write("one"), says("ok")), middleware=[middleware])
    pieces = [piece async for piece in agent.astream(HUMAN, thread("T-1"), stream_mode="custom")]
    told = [piece["event"] for piece in pieces if piece["type"] == "gitmachine_event"]
    assert told == ["checkpointed", "committed", "pushed"]
