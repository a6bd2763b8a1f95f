"""How does every conversation get its own branch? `python langchain_threads.py REPOSITORY`

The middleware opens a session for each thread id and commits and pushes after each turn. No `await` here.
"""

import sys

from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolCall

from gitmachine import LocalMachine
from langchain_gitmachine import GitMachineMiddleware, names


class Script(GenericFakeChatModel):
    def bind_tools(self, tools, **kwargs):  # type: ignore[no-untyped-def]
        return self


def main(repository: str) -> None:
    write = ToolCall(name=names.WRITE_FILE, args={"path": "note.txt", "content": "noted\n"}, id="1")
    model = Script(messages=iter([AIMessage("", tool_calls=[write]), AIMessage("Done."), AIMessage("Hello.")]))
    with GitMachineMiddleware(LocalMachine, repository) as sessions:
        agent = create_agent(model, middleware=[sessions])
        for thread in ("monday", "tuesday"):
            state = agent.invoke({"messages": [HumanMessage("go")]}, {"configurable": {"thread_id": thread}})
            print(thread, state["gitmachine"]["session"], state["gitmachine"]["pushed"])


if __name__ == "__main__":
    main(sys.argv[1])
