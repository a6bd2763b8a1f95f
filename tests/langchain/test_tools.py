"""What the tools answer, stream and refuse."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from gitmachine import ConfigurationError, ExecuteOptions, GitMachine, LocalMachine, MachineState, sync
from langchain_gitmachine import GitMachineToolkit, ToolLimits, names
from tests.langchain.scripted import answers, calls, model, says
from tests.support.git_server import TOKEN, Repository

HUMAN: Any = {"messages": [("human", "go")]}


def tool(gm: GitMachine | sync.GitMachine, name: str, **limits: Any) -> BaseTool:
    (found,) = GitMachineToolkit(machine=gm, limits=ToolLimits(**limits)).get_tools(include=[name])
    return found


async def use(gm: GitMachine, name: str, limits: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """The ToolMessage that an agent would get."""
    call = {"name": name, "args": arguments, "id": "call-1", "type": "tool_call"}
    return await tool(gm, name, **(limits or {})).ainvoke(call)


# --- names and schemas ---------------------------------------------------------------------------------------


def test_the_names_are_what_they_are() -> None:
    """`interrupt_on` compares them as text, so a changed name would silently let calls through."""
    assert names.ALL_TOOLS == (
        "gitmachine_run", "gitmachine_read_file", "gitmachine_write_file", "gitmachine_edit_file",
        "gitmachine_list_files", "gitmachine_status", "gitmachine_diff", "gitmachine_logs", "gitmachine_commit",
        "gitmachine_push", "gitmachine_pull", "gitmachine_pause", "gitmachine_resume",
    )  # fmt: skip
    assert sorted(names.READ_TOOLS + names.WRITE_TOOLS) == sorted(names.ALL_TOOLS)


async def test_the_toolkit_gives_the_tools_that_are_wanted() -> None:
    kit = GitMachineToolkit(machine=GitMachine(LocalMachine()))
    assert [made.name for made in kit.get_tools()] == list(names.ALL_TOOLS)
    assert [made.name for made in kit.get_tools(include=[names.RUN, names.DIFF])] == [names.RUN, names.DIFF]
    assert names.PUSH not in [made.name for made in kit.get_tools(exclude=[names.PUSH])]
    with pytest.raises(ConfigurationError, match="git_push"):
        kit.get_tools(exclude=["git_push"])


async def test_models_see_neither_the_runtime_nor_the_session() -> None:
    for made in GitMachineToolkit(machine=GitMachine(LocalMachine())).get_tools():
        schema = json.dumps(convert_to_openai_tool(made))
        assert "runtime" not in schema
        assert "sessions" not in schema
        assert made.tags == ["gitmachine"]


# --- run -----------------------------------------------------------------------------------------------------


async def test_a_command_answers_with_its_exit_code_first(gm: GitMachine) -> None:
    message = await use(gm, names.RUN, command="echo out; echo err >&2; exit 3")
    assert message.content == "exit code 3\nout\n[stderr]\nerr"
    assert message.status == "success"
    assert message.artifact["exit_code"] == 3
    assert message.artifact["truncated"] is False


async def test_long_output_is_shown_at_both_ends_and_kept_whole_in_the_machine(gm: GitMachine) -> None:
    command = "echo first; head -c 10000000 /dev/zero | tr '\\0' x; echo; echo last"
    message = await use(gm, names.RUN, {"max_output_chars": 2000}, command=command)
    assert len(message.content) < 2300
    assert message.content.startswith("exit code 0\nfirst\nxxx")
    assert "xxx\nlast\n" in message.content
    assert message.artifact["truncated"] is True
    assert len(json.dumps(message.artifact)) < 3000
    kept = message.artifact["full_output"]
    assert kept in message.content
    assert (await gm.machine.execute(f"wc -c < {kept}")).stdout.strip() == str(10000000 + 6 + 1 + 5)
    assert (await gm.status()).changes == ()
    assert "gitmachine" not in await gm.machine.list_files("/")


async def test_output_cut_only_for_the_model_is_kept_too(gm: GitMachine) -> None:
    message = await use(gm, names.RUN, {"max_output_chars": 100}, command="seq 1 200; seq 1 300 >&2")
    kept = await gm.machine.read_file(message.artifact["full_output"])
    assert kept == "".join(f"{n}\n" for n in range(1, 201)) + "".join(f"{n}\n" for n in range(1, 301))


async def test_only_the_newest_outputs_are_kept(gm: GitMachine) -> None:
    for n in range(12):
        await use(gm, names.RUN, {"max_output_chars": 100}, command=f"seq {n} 300")
    assert len(await gm.machine.list_files("/tmp/gitmachine/output")) == 10


async def test_a_timeout_keeps_what_was_printed_and_kills_the_tree(gm: GitMachine) -> None:
    message = await use(gm, names.RUN, command="echo before; sleep 4324 & sleep 4324", timeout=0.5)
    assert message.content.startswith("timed out after 0.")
    assert message.content.endswith("before")
    assert message.artifact["timed_out"] is True
    assert message.artifact["exit_code"] == 124
    assert (await gm.machine.execute("pgrep -f '[s]leep 4324'")).stdout == ""


async def test_nobody_can_ask_for_more_time_than_the_operator_allows(gm: GitMachine) -> None:
    message = await use(gm, names.RUN, {"max_timeout": 0.5}, command="sleep 4325", timeout=4000)
    assert message.artifact["timed_out"] is True


async def test_the_sessions_own_bound_holds_when_none_is_named(project: Repository, state_dir: Path) -> None:
    async with GitMachine(LocalMachine(), project.url, TOKEN, timeout=0.5) as gm:
        message = await use(gm, names.RUN, command="sleep 4326")
    assert message.artifact["timed_out"] is True


async def test_cancelling_a_call_kills_its_command(gm: GitMachine) -> None:
    task = asyncio.create_task(use(gm, names.RUN, command="sleep 4327"))
    until = "until pgrep -f '[s]leep 4327'; do sleep 0.01; done"
    assert (await gm.machine.execute(until, ExecuteOptions(timeout=10))).ok
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await gm.machine.execute("pgrep -f '[s]leep 4327'")).stdout == ""
    assert time.monotonic() - began < 2


# --- files, git and state ------------------------------------------------------------------------------------


async def test_files_are_written_edited_read_and_listed(gm: GitMachine) -> None:
    await use(gm, names.WRITE_FILE, path="docs/a.txt", content="one\ntwo\nthree\n")
    await use(gm, names.EDIT_FILE, path="docs/a.txt", old="two", new="2")
    assert (await use(gm, names.READ_FILE, path="docs/a.txt")).content == "one\n2\nthree\n"
    part = await use(gm, names.READ_FILE, path="docs/a.txt", start_line=2, max_lines=1)
    assert part.content == "2\n[lines 2 to 2 of 3; go on with start_line=3]"
    assert (await use(gm, names.LIST_FILES, path="docs")).artifact["names"] == ["a.txt"]


async def test_a_written_file_is_in_the_vault_when_the_tool_has_answered(gm: GitMachine) -> None:
    before = [event.name for event in await gm.events()].count("checkpointed")
    await use(gm, names.WRITE_FILE, path="a.txt", content="a")
    assert [event.name for event in await gm.events()].count("checkpointed") == before + 1


async def test_work_goes_all_the_way_to_the_remote(gm: GitMachine, project: Repository) -> None:
    await use(gm, names.WRITE_FILE, path="a.txt", content="a\n")
    assert "+a" in (await use(gm, names.DIFF)).content
    status = await use(gm, names.STATUS)
    assert "A a.txt" in status.content
    assert status.artifact["changes"] == [{"status": "A", "path": "a.txt"}]
    commit = await use(gm, names.COMMIT, message="Add a")
    push = await use(gm, names.PUSH)
    assert push.artifact["where"] == "remote"
    assert project.heads()["fix-1"] == commit.artifact["sha"]
    project.commit("fix-1", {"b.txt": "b\n"})
    pull = await use(gm, names.PULL)
    assert pull.artifact["updated"] is True
    assert (await use(gm, names.READ_FILE, path="b.txt")).content == "b\n"
    assert (await use(gm, names.COMMIT, message="Nothing")).artifact["sha"] is None
    assert (await use(gm, names.DIFF)).content == "no changes"


async def test_a_paused_session_says_which_tool_helps(gm: GitMachine) -> None:
    assert (await use(gm, names.PAUSE)).artifact["state"] == "paused"
    refused = await use(gm, names.RUN, command="true")
    assert refused.status == "error"
    assert "resume()" in refused.content
    assert (await use(gm, names.RESUME)).artifact["state"] == "running"
    assert gm.state is MachineState.RUNNING


async def test_the_log_has_the_commands_and_the_ends_of_their_output(gm: GitMachine) -> None:
    await use(gm, names.RUN, command="echo hello")
    await use(gm, names.RUN, command="exit 4")
    logs = await use(gm, names.LOGS, last=2)
    assert "$ echo hello\nhello\n" in logs.content
    assert [entry["exit_code"] for entry in logs.artifact["commands"]] == [0, 4]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        (names.READ_FILE, {"path": "missing.txt"}, "missing.txt"),
        (names.READ_FILE, {"path": "../../etc/passwd"}, "leads out of the checkout"),
        (names.READ_FILE, {"path": "binary.bin"}, "UTF-8"),
        (names.EDIT_FILE, {"path": "calc.py", "old": "nowhere", "new": ""}, "0 times"),
        (names.LIST_FILES, {"path": "calc.py"}, "calc.py"),
        (names.DIFF, {"base": "no-such-branch"}, "no-such-branch"),
        (names.RUN, {"command": "true", "cwd": "nowhere"}, "nowhere"),
        (names.RESUME, {}, "running already"),
    ],
)
async def test_what_is_refused_is_a_message_and_not_the_end_of_the_run(
    gm: GitMachine, name: str, arguments: dict[str, Any], words: str
) -> None:
    await gm.write_file("binary.bin", b"\xff\xfe\0")
    agent = create_agent(model(calls(name, **arguments), says("I see")), [tool(gm, name)])
    state = await agent.ainvoke(HUMAN)
    (message,) = answers(state)
    assert message.status == "error"
    assert words in message.content
    assert state["messages"][-1].content == "I see"


async def test_a_rejected_push_is_a_message_that_says_where_the_work_is(gm: GitMachine, project: Repository) -> None:
    await use(gm, names.WRITE_FILE, path="a.txt", content="a\n")
    await use(gm, names.COMMIT, message="Add a")
    project.reject_pushes()
    message = await use(gm, names.PUSH)
    assert message.status == "error"
    assert "vault" in message.content
    assert TOKEN not in message.content
    project.accept_pushes()


# --- the runtime, streams and callbacks ----------------------------------------------------------------------


async def test_every_tool_gets_the_runtime_in_an_agent(gm: GitMachine) -> None:
    """Without a runtime there is no stream, and nothing would say so (langchain issue 34558)."""
    examples: dict[str, dict[str, Any]] = {
        names.RUN: {"command": "true"},
        names.READ_FILE: {"path": "calc.py"},
        names.WRITE_FILE: {"path": "x", "content": "x"},
        names.EDIT_FILE: {"path": "calc.py", "old": "a - b", "new": "a + b"},
        names.COMMIT: {"message": "x"},
    }
    kit = GitMachineToolkit(machine=gm).get_tools()
    for made in kit:
        asked = examples.get(made.name, {})
        agent = create_agent(model(calls(made.name, **asked), says("done")), [made])
        seen = await _runtimes(agent, made)
        assert seen == [True], made.name


async def _runtimes(agent: Any, made: Any) -> list[bool]:
    seen: list[bool] = []
    original = made.sessions

    class Watching(type(original)):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        async def acall(self, runtime: Any, work: Any) -> Any:
            seen.append(runtime is not None and runtime.tool_call_id is not None)
            return await original.acall(runtime, work)

    made.sessions = Watching()
    await agent.ainvoke(HUMAN)
    return seen


async def _slowly(gm: GitMachine) -> Any:
    """An agent whose one command prints a line and goes on until it is told to end."""
    command = "echo first; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo second"
    return create_agent(model(calls(names.RUN, command=command, timeout=30), says("done")), [tool(gm, names.RUN)])


def _texts(pieces: list[Any]) -> str:
    return "".join(piece["text"] for piece in pieces if piece.get("type") == "gitmachine_output")


@pytest.mark.parametrize("modes", [["custom"], ["tools", "custom"]])
async def test_output_is_streamed_while_the_command_runs(gm: GitMachine, modes: list[str]) -> None:
    pieces = []
    agent = await _slowly(gm)
    async with asyncio.timeout(30):
        async for mode, piece in agent.astream(HUMAN, stream_mode=modes):
            if mode == "custom":
                pieces.append(piece)
                if piece.get("text") == "first\n":  # only now may the command end: it was live
                    await gm.machine.execute("touch /tmp/go")
    assert _texts(pieces) == "first\nsecond\n"
    assert {piece["tool_call_id"] for piece in pieces} != {None}


async def test_output_is_on_the_tools_stream(gm: GitMachine) -> None:
    agent: Any = create_agent(model(calls(names.RUN, command="echo out"), says("done")), [tool(gm, names.RUN)])
    pieces = [piece async for piece in agent.astream(HUMAN, stream_mode="tools")]
    deltas = [piece["delta"] for piece in pieces if piece.get("event") == "tool-output-delta"]
    assert deltas == [{"channel": "stdout", "text": "out\n"}]


async def test_output_and_session_events_are_custom_events(gm: GitMachine) -> None:
    agent: Any = create_agent(
        model(calls(names.RUN, command="echo out > file; cat file"), says("done")), [tool(gm, names.RUN)]
    )
    events = [event async for event in agent.astream_events(HUMAN, version="v2") if event["event"] == "on_custom_event"]
    told = [event["data"] for event in events if event["name"] == "gitmachine_event"]
    assert [event["event"] for event in told] == ["command_started", "checkpointed", "command_finished"]
    assert told[-1]["data"]["exit_code"] == 0
    assert [event["data"]["text"] for event in events if event["name"] == "gitmachine_output"] == ["out\n"]


async def test_callbacks_hear_of_events_of_the_session_also_outside_an_agent(gm: GitMachine) -> None:
    heard: list[tuple[str, str]] = []

    class Listener(AsyncCallbackHandler):
        async def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
            heard.append((name, data.get("event")))

    await tool(gm, names.WRITE_FILE).ainvoke({"path": "a", "content": "a"}, config={"callbacks": [Listener()]})
    await tool(gm, names.COMMIT).ainvoke({"message": "A"}, config={"callbacks": [Listener()]})
    assert heard == [("gitmachine_event", "checkpointed"), ("gitmachine_event", "committed")]


def test_a_synchronous_agent_streams_too(plain: sync.GitMachine) -> None:
    agent = create_agent(model(calls(names.RUN, command="echo out"), says("done")), [tool(plain, names.RUN)])
    pieces = list(agent.stream(HUMAN, stream_mode="custom"))
    assert _texts(pieces) == "out\n"
    assert "command_finished" in [piece.get("event") for piece in pieces]


# --- loops and threads ---------------------------------------------------------------------------------------


def test_one_session_serves_two_loops_one_after_the_other_and_none(plain: sync.GitMachine) -> None:
    made = tool(plain, names.RUN)
    assert "one" in asyncio.run(made.ainvoke({"command": "echo one"}))
    assert "two" in asyncio.run(made.ainvoke({"command": "echo two"}))
    assert "three" in made.invoke({"command": "echo three"})
    assert "four" in asyncio.run(made.ainvoke({"command": "echo four"}))


def test_a_session_started_on_a_loop_that_is_gone_goes_on(project: Repository, state_dir: Path) -> None:
    async def begin() -> tuple[GitMachine, BaseTool]:
        gm = GitMachine(LocalMachine(), project.url, TOKEN, session="fix-1")
        await gm.start()
        return gm, tool(gm, names.RUN)

    gm, made = asyncio.run(begin())
    assert "one" in asyncio.run(made.ainvoke({"command": "echo one"}))
    assert "two" in made.invoke({"command": "echo two"})
    assert "three" in asyncio.run(made.ainvoke({"command": "echo three"}))
    asyncio.run(gm.stop())


async def test_a_call_without_await_from_another_thread_comes_to_the_sessions_loop(gm: GitMachine) -> None:
    made = tool(gm, names.RUN)
    assert "here" in await asyncio.to_thread(made.invoke, {"command": "echo here"})


async def test_a_call_without_await_on_the_sessions_own_loop_says_what_to_do(gm: GitMachine) -> None:
    made = tool(gm, names.RUN)
    assert "use ainvoke()" in made.invoke({"command": "true"})


async def test_calls_of_one_turn_run_side_by_side(gm: GitMachine) -> None:
    made = tool(gm, names.RUN)
    meet = "touch /tmp/{0}; while [ ! -e /tmp/{1} ]; do sleep 0.01; done; echo {0}"
    results = await asyncio.gather(
        made.ainvoke({"command": meet.format("a", "b"), "timeout": 20}),
        made.ainvoke({"command": meet.format("b", "a"), "timeout": 20}),
    )
    assert list(results) == ["exit code 0\na", "exit code 0\nb"]
