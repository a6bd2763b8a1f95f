"""Beside LangChain's own ShellToolMiddleware: each fault recorded of it, shown of it, and shown not to be ours.

Its half of each pair is a strict xfail: when a version of LangChain mends it, the test says so.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HostExecutionPolicy, ShellToolMiddleware
from langchain_core.messages import ToolMessage

from gitmachine import GitMachine
from langchain_gitmachine import GitMachineMiddleware, GitMachineToolkit, names
from tests.langchain.scripted import answers, calls, model, says

pytestmark = pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
"""It also leaves its pipes to the garbage collector."""

HUMAN: Any = {"messages": [("human", "go")]}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What it leaves is collected here, and not in somebody else's test."""
    yield
    gc.collect()


def both(reason: str, *, strict: bool = True) -> pytest.MarkDecorator:
    theirs = pytest.param("theirs", marks=pytest.mark.xfail(reason=reason, strict=strict, raises=AssertionError))
    return pytest.mark.parametrize("whose", ["ours", theirs])


async def answer(whose: str, gm: GitMachine, command: str, timeout: float = 3.0) -> ToolMessage:
    """What the model is told of a command, by our tool or by theirs."""
    if whose == "ours":
        script = model(calls(names.RUN, command=command, timeout=timeout), says("ok"))
        agent = create_agent(script, GitMachineToolkit(machine=gm).get_tools())
    else:
        shell = ShellToolMiddleware(execution_policy=HostExecutionPolicy(command_timeout=timeout))
        agent = create_agent(model(calls("shell", command=command), says("ok")), middleware=[shell])
    (message,) = answers(await agent.ainvoke(HUMAN))
    return message


@both("waits out its timeout and loses the output (langchain issues 39363, 36804, 37837)")
async def test_output_needs_no_last_newline(gm: GitMachine, whose: str) -> None:
    message = await answer(whose, gm, "printf x")
    assert "x" in str(message.content).splitlines()
    assert "imed out" not in str(message.content)


@both("the same, by cat")
async def test_a_file_needs_no_last_newline(gm: GitMachine, whose: str) -> None:
    message = await answer(
        whose, gm, "printf 'no newline' > /tmp/gm-no-newline; cat /tmp/gm-no-newline; rm /tmp/gm-no-newline"
    )
    assert "no newline" in str(message.content)


@both("ends its own shell, and now and then waits out its timeout", strict=False)
async def test_exit_3_is_exit_code_3(gm: GitMachine, whose: str) -> None:
    message = await answer(whose, gm, "exit 3")
    assert message.artifact["exit_code"] == 3
    assert message.status == "success"


@both("throws away what was printed before the timeout")
async def test_a_timeout_keeps_the_output_up_to_then(gm: GitMachine, whose: str) -> None:
    message = await answer(whose, gm, "echo before; sleep 60", timeout=1.0)
    assert "before" in str(message.content)


@both("has no bound in bytes: a line of 3 MB reaches the model")
async def test_one_long_line_is_cut(gm: GitMachine, whose: str) -> None:
    message = await answer(whose, gm, "head -c 3000000 /dev/zero | tr '\\0' x; echo")
    assert len(str(message.content)) < 20_000


@both("shows the head only")
async def test_the_end_of_long_output_is_shown(gm: GitMachine, whose: str) -> None:
    message = await answer(whose, gm, "seq 1 100000")
    assert "\n100000" in str(message.content)


@both("runs on the host, where it reads what the user can read")
async def test_the_hosts_files_are_out_of_reach(gm: GitMachine, whose: str) -> None:
    message = await answer(whose, gm, f"cat {__file__} || echo cannot")
    assert "cannot" in str(message.content).splitlines()


@both("stops the loop while its shutdown command runs")
async def test_the_loop_goes_on_while_the_session_ends(gm: GitMachine, whose: str) -> None:
    gaps = asyncio.create_task(_longest_gap(stop := asyncio.Event()))
    if whose == "ours":
        async with GitMachineMiddleware(
            lambda: type(gm.machine)(), on_end=lambda session: session.run("sleep 1.5")
        ) as middleware:
            agent = create_agent(model(says("ok")), middleware=[middleware])
            await agent.ainvoke(HUMAN, {"configurable": {"thread_id": "T-1"}})
    else:
        shell = ShellToolMiddleware(shutdown_commands=["sleep 1.5"])
        await create_agent(model(says("ok")), middleware=[shell]).ainvoke(HUMAN)
    stop.set()
    assert await gaps < 1.0


async def _longest_gap(stop: asyncio.Event) -> float:
    longest = 0.0
    while not stop.is_set():
        began = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - began)
    return longest
