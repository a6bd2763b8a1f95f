"""How does a LangChain agent get a repository to work on? `python langchain_agent.py REPOSITORY [MODEL]`

MODEL is a name for `init_chat_model`, such as `anthropic:claude-sonnet-4-5`. Without one a script plays its part.
"""

import asyncio
import sys

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage

from gitmachine import GitMachine, LocalMachine
from langchain_gitmachine import GitMachineToolkit, names
from scripted_model import asks, model_or_script


async def main(repository: str, model: BaseChatModel) -> None:
    async with GitMachine(machine=LocalMachine(), repository=repository, session="by-langchain") as gm:
        agent = create_agent(model, GitMachineToolkit(machine=gm).get_tools())
        state = await agent.ainvoke({"messages": [HumanMessage("Change the greeting to goodbye")]})
    for message in state["messages"]:
        print(f"{message.type}: {message.text or 'asks for ' + message.tool_calls[0]['name']}")


if __name__ == "__main__":
    script = (
        asks(names.RUN, command="sed -i s/hello/goodbye/ hello.txt && cat hello.txt"),
        asks(names.COMMIT, message="Say goodbye"),
        AIMessage("I changed the greeting."),
    )
    asyncio.run(main(sys.argv[1], model_or_script(sys.argv[2:], *script)))

# It prints:
#
#     $ python langchain_agent.py REPOSITORY
#     human: Change the greeting to goodbye
#     ai: asks for gitmachine_run
#     tool: exit code 0
#     goodbye
#     ai: asks for gitmachine_commit
#     tool: committed eac0f7f29b51
#     ai: I changed the greeting.
