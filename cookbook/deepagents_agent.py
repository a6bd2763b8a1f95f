"""How does a deepagents agent work in a session? `python deepagents_agent.py REPOSITORY [MODEL]`

The session is its sandbox: `execute` and the file tools of deepagents work in the machine.
"""

import asyncio
import sys

from deepagents import create_deep_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage

from gitmachine import GitMachine, LocalMachine
from langchain_gitmachine import gitmachine_backend
from scripted_model import asks, model_or_script


async def main(repository: str, model: BaseChatModel) -> None:
    async with GitMachine(machine=LocalMachine(), repository=repository, session="deep") as gm:
        agent = create_deep_agent(
            model=model,
            backend=gitmachine_backend(gm),
            system_prompt=f"The repository is in {gm.path}. What you leave there is committed and pushed for you.",
        )
        state = await agent.ainvoke({"messages": [HumanMessage("Change the greeting to goodbye")]})
        print(state["messages"][-1].text)
        print((await gm.diff(stat=True)).rstrip())


if __name__ == "__main__":
    path = "/home/user/repo/hello.txt"
    script = (
        asks("execute", command="cat hello.txt"),
        asks("edit_file", file_path=path, old_string="hello", new_string="goodbye"),
        AIMessage("I changed the greeting."),
    )
    asyncio.run(main(sys.argv[1], model_or_script(sys.argv[2:], *script)))

# It prints:
#
#     $ python deepagents_agent.py REPOSITORY
#     I changed the greeting.
#      hello.txt | 2 +-
#      1 file changed, 1 insertion(+), 1 deletion(-)
