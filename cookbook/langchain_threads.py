"""How does every conversation get its own branch? `python langchain_threads.py REPOSITORY [MODEL]`

The middleware opens a session for each thread id and commits and pushes after each turn. No `await` here.
"""

import sys

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage

from gitmachine import LocalMachine
from langchain_gitmachine import GitMachineMiddleware, names
from scripted_model import asks, model_or_script


def main(repository: str, model: BaseChatModel) -> None:
    with GitMachineMiddleware(LocalMachine, repository) as sessions:
        agent = create_agent(model, middleware=[sessions])
        for thread in ("monday", "tuesday"):
            question = HumanMessage("Take a note")
            state = agent.invoke({"messages": [question]}, {"configurable": {"thread_id": thread}})
            print(thread, state["gitmachine"]["session"], state["gitmachine"]["pushed"])


if __name__ == "__main__":
    write = asks(names.WRITE_FILE, path="note.txt", content="noted\n")
    main(sys.argv[1], model_or_script(sys.argv[2:], write, AIMessage("Done."), AIMessage("Nothing to note.")))

# It prints:
#
#     $ python langchain_threads.py REPOSITORY
#     monday gitmachine/monday remote
#     tuesday gitmachine/tuesday nothing
