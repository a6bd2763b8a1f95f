"""The three ways to build an agent around a session, and what the same work is called in each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from gitmachine import GitMachine, sync
from langchain_gitmachine import GitMachineToolkit, gitmachine_backend, names
from tests.langchain.scripted import ScriptedModel, calls


class Kind(ABC):
    """Agents that ask before they push, and keep their state."""

    run_tool: str = names.RUN

    @abstractmethod
    def build(self, gm: GitMachine | sync.GitMachine, chat: ScriptedModel, *more: BaseTool) -> Any: ...

    def run(self, command: str) -> AIMessage:
        return calls(names.RUN, command=command)

    def write(self, gm: Any, name: str, text: str) -> AIMessage:
        return calls(names.WRITE_FILE, path=name, content=text)

    def look_and_mend(self, gm: Any) -> list[AIMessage]:
        return [
            calls(names.READ_FILE, path="calc.py"),
            calls(names.EDIT_FILE, path="calc.py", old="a - b", new="a + b"),
        ]


class Agent(Kind):
    """LangChain's `create_agent`."""

    def build(self, gm: GitMachine | sync.GitMachine, chat: ScriptedModel, *more: BaseTool) -> Any:
        return create_agent(
            chat,
            [*GitMachineToolkit(machine=gm).get_tools(), *more],
            middleware=[HumanInTheLoopMiddleware(interrupt_on={names.PUSH: True})],
            checkpointer=InMemorySaver(),
        )


class Graph(Kind):
    """A graph of one's own, of LangGraph's parts."""

    def build(self, gm: GitMachine | sync.GitMachine, chat: ScriptedModel, *more: BaseTool) -> Any:
        kit = [*GitMachineToolkit(machine=gm).get_tools(), *more]

        async def think(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await chat.bind_tools(kit).ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("think", think)
        graph.add_node("ask", _ask)
        # What the session refuses is a message by itself; what else a tool raises should end the run.
        graph.add_node("tools", ToolNode(kit, handle_tool_errors=False))
        graph.add_edge(START, "think")
        graph.add_conditional_edges("think", _next)
        graph.add_edge("tools", "think")
        return graph.compile(checkpointer=InMemorySaver())


def _next(state: MessagesState) -> str:
    last = state["messages"][-1]
    if not isinstance(last, AIMessage) or not last.tool_calls:
        return END
    return "ask" if last.tool_calls[0]["name"] in names.PUBLISHING_TOOLS else "tools"


def _ask(state: MessagesState) -> Command[Literal["think", "tools"]]:
    last = state["messages"][-1]
    assert isinstance(last, AIMessage)
    call = last.tool_calls[0]
    answer = interrupt({"action_requests": [{"name": call["name"], "args": call["args"]}]})
    if answer["decisions"][0]["type"] == "approve":
        return Command(goto="tools")
    said = ToolMessage("A person said no.", tool_call_id=call["id"], name=call["name"], status="error")
    return Command(goto="think", update={"messages": [said]})


class DeepAgent(Kind):
    """deepagents' `create_deep_agent`, with the session as its sandbox."""

    run_tool = "execute"

    def build(self, gm: GitMachine | sync.GitMachine, chat: ScriptedModel, *more: BaseTool) -> Any:
        from deepagents import create_deep_agent

        published = GitMachineToolkit(machine=gm).get_tools(include=[names.STATUS, names.COMMIT, names.PUSH])
        return create_deep_agent(
            model=chat,
            tools=[*published, *more],
            backend=gitmachine_backend(gm),
            interrupt_on={names.PUSH: True},
            checkpointer=InMemorySaver(),
        )

    def run(self, command: str) -> AIMessage:
        return calls("execute", command=command)

    def write(self, gm: Any, name: str, text: str) -> AIMessage:
        return calls("write_file", file_path=f"{gm.path}/{name}", content=text)

    def look_and_mend(self, gm: Any) -> list[AIMessage]:
        path = f"{gm.path}/calc.py"
        return [
            calls("read_file", file_path=path),
            calls("edit_file", file_path=path, old_string="a - b", new_string="a + b"),
        ]


KINDS = {"create_agent": Agent(), "graph": Graph(), "deep agent": DeepAgent()}
