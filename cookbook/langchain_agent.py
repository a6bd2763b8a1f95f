"""How does a LangChain agent get a repository to work on? `python langchain_agent.py REPOSITORY`

The model here is a script, so that this runs without a network. Put your own in its place.
"""

import asyncio
import sys

from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolCall

from gitmachine import GitMachine, LocalMachine
from langchain_gitmachine import GitMachineToolkit, names


class Script(GenericFakeChatModel):
    def bind_tools(self, tools, **kwargs):  # type: ignore[no-untyped-def]
        return self


def call(name: str, **arguments: str) -> AIMessage:
    return AIMessage("", tool_calls=[ToolCall(name=name, args=arguments, id=name)])


async def main(repository: str) -> None:
    model = Script(
        messages=iter(
            [
                call(names.RUN, command="sed -i s/hello/goodbye/ hello.txt && cat hello.txt"),
                call(names.COMMIT, message="Say goodbye"),
                AIMessage("I changed the greeting."),
            ]
        )
    )
    async with GitMachine(machine=LocalMachine(), repository=repository, session="by-langchain") as gm:
        agent = create_agent(model, GitMachineToolkit(machine=gm).get_tools())
        state = await agent.ainvoke({"messages": [HumanMessage("Change the greeting")]})
    for message in state["messages"]:
        print(f"{message.type}: {message.text}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
