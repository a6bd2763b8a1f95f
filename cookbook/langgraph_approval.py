"""How does a person approve what a LangGraph agent pushes? `python langgraph_approval.py REPOSITORY [MODEL]`"""

import asyncio
import sys
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt

from gitmachine import GitMachine, LocalMachine
from langchain_gitmachine import GitMachineToolkit, names
from scripted_model import asks, model_or_script


def build(gm: GitMachine, model: BaseChatModel) -> Any:
    tools = GitMachineToolkit(machine=gm).get_tools()

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.bind_tools(tools).ainvoke(state["messages"])]}

    def ask(state: MessagesState) -> Command[Literal["work", "think"]]:
        said: Any = state["messages"][-1]
        wanted = [call for call in said.tool_calls if call["name"] in names.PUBLISHING_TOOLS]
        if not wanted or interrupt(f"May I push {gm.session}?"):
            return Command(goto="work")
        no = [ToolMessage("A person said no.", tool_call_id=call["id"]) for call in said.tool_calls]
        return Command(goto="think", update={"messages": no})

    graph = StateGraph(MessagesState).add_node(think).add_node(ask).add_node("work", ToolNode(tools))
    graph.add_edge(START, "think").add_edge("work", "think")
    graph.add_conditional_edges("think", tools_condition, {"tools": "ask", "__end__": "__end__"})
    return graph.compile(checkpointer=InMemorySaver())


async def main(repository: str, model: BaseChatModel) -> None:
    async with GitMachine(machine=LocalMachine(), repository=repository, session="approved") as gm:
        graph, thread = build(gm, model), {"configurable": {"thread_id": "1"}}
        state = await graph.ainvoke({"messages": [HumanMessage("Say bye and publish it")]}, thread)
        for answer in (False, True):
            print(state["__interrupt__"][0].value, "yes" if answer else "no")
            state = await graph.ainvoke(Command(resume=answer), thread)
        print(state["messages"][-1].text)


if __name__ == "__main__":
    edit = asks(names.RUN, command="echo bye > hello.txt && git commit -qam 'Say bye'")
    lines = (edit, asks(names.PUSH), asks(names.PUSH), AIMessage("It is published."))
    asyncio.run(main(sys.argv[1], model_or_script(sys.argv[2:], *lines)))

# It prints:
#
#     $ python langgraph_approval.py REPOSITORY
#     May I push approved? no
#     May I push approved? yes
#     It is published.
