"""GitMachineMiddleware: every conversation thread works on its own branch, in its own machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Annotated, Any, NotRequired, Self, TypedDict, TypeVar, Unpack

from langchain.agents.middleware.types import AgentMiddleware, AgentState, ContextT, OmitFromInput, ToolCallRequest
from langchain_core.messages import ToolMessage
from langgraph.types import Command

from gitmachine import GitMachine, Machine, MachineState, PushHeld, PushRejected, RemoteUnreachable, sync
from gitmachine.sync import SessionOptions
from langchain_gitmachine.names import ALL_TOOLS
from langchain_gitmachine.reach import Reach
from langchain_gitmachine.streams import Stream
from langchain_gitmachine.threads import ThreadSessions, branch_for, thread_of
from langchain_gitmachine.toolkit import make_tools
from langchain_gitmachine.tools import ToolLimits
from langchain_gitmachine.verbs import make_durable

__all__ = ["GitMachineMiddleware", "SessionState", "branch_for"]

T = TypeVar("T")


class SessionSummary(TypedDict):
    """What a thread's state says of its session: names and ids, no live object."""

    session: str
    machine: str | None
    commit: NotRequired[str | None]
    """The branch after the last turn."""
    pushed: NotRequired[str]
    """Where the work of the last turn is: `remote`, `rescue`, `vault`, or `nothing` when there was none."""
    reason: NotRequired[str | None]


class SessionState(AgentState[Any]):
    """An agent's state with its session."""

    gitmachine: NotRequired[Annotated[SessionSummary, OmitFromInput]]


class GitMachineMiddleware(AgentMiddleware[AgentState[Any], ContextT, Any]):
    """Gives an agent the tools of a session, one session for each `thread_id`, and sees to its life.

    Before the agent the thread's session is opened: its branch checked out in a machine, or the live one taken up
    again. After each tool call the files are safe on the host. After the agent its work is committed and, with
    `push`, pushed; where the work is then says the state's `gitmachine`. The machine stays for the next turn.

    LangChain does not call the after-hook when a model or tool raises, or the run is cancelled. So machines end with
    this object: use it as a context manager (`with` or `async with`), or call `close()`. Besides, `idle_timeout`
    seconds after its last use a session is committed, pushed and ended; the next turn goes on with its branch.
    """

    state_schema = SessionState  # declared by its base, so that it stands in a list with any other middleware

    def __init__(
        self,
        machine: Callable[[], Machine],
        repository: str | None = None,
        token: str | None = None,
        *,
        branch: Callable[[str], str] = branch_for,
        push: bool = True,
        idle_timeout: float | None = 1800.0,
        include: Collection[str] | None = None,
        exclude: Collection[str] = (),
        limits: ToolLimits | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        """`machine` makes a new machine, such as the class LocalMachine; `branch` names a thread's branch.

        `options` are GitMachine's. Raises ConfigurationError.
        """
        super().__init__()
        self._push = push
        self._sessions = ThreadSessions(
            machine, repository, token, branch=branch, idle_timeout=idle_timeout, options=dict(options)
        )
        self.tools = make_tools(self._sessions, limits or ToolLimits(), include, exclude)

    def session(self, thread_id: str) -> sync.GitMachine | None:
        """The live session of a thread, for the program around the agent; None when there is none."""
        reach = self._sessions.reach(thread_id)
        return None if reach is None else sync.GitMachine.of(reach.gm, self._sessions.owner)

    def end(self, thread_id: str) -> None:
        """Commits, pushes and ends the session of a thread. Raises CaptureFailed, VaultError."""
        self._sessions.owner.run(self._sessions.end(thread_id))

    def close(self) -> None:
        """Does so for all threads. Raises CaptureFailed, VaultError, after all others have ended."""
        self._sessions.owner.run(self._sessions.close())

    async def aclose(self) -> None:
        """As `close`."""
        await self._sessions.owner.arun(self._sessions.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- hooks ------------------------------------------------------------------------------------------

    def before_agent(self, state: AgentState[Any], runtime: Any) -> dict[str, Any] | None:
        return self._sessions.call(runtime, lambda reach: _begin(reach, Stream(runtime)))

    async def abefore_agent(self, state: AgentState[Any], runtime: Any) -> dict[str, Any] | None:
        return await self._sessions.acall(runtime, lambda reach: _begin(reach, Stream(runtime)))

    def after_agent(self, state: AgentState[Any], runtime: Any) -> dict[str, Any] | None:
        return self._sessions.call(runtime, lambda reach: _finish(reach, Stream(runtime), push=self._push))

    async def aafter_agent(self, state: AgentState[Any], runtime: Any) -> dict[str, Any] | None:
        return await self._sessions.acall(runtime, lambda reach: _finish(reach, Stream(runtime), push=self._push))

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        try:
            return handler(request)
        finally:
            if self._may_have_changed_files(request):
                self._sessions.call(request.runtime, _save)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        try:
            return await handler(request)
        finally:
            if self._may_have_changed_files(request):
                await self._sessions.acall(request.runtime, _save)

    def _may_have_changed_files(self, request: ToolCallRequest) -> bool:
        """Our own tools make their work durable themselves; somebody else's may hold the session too."""
        ours = request.tool_call["name"] in ALL_TOOLS
        return not ours and self._sessions.reach(thread_of(request.runtime)) is not None


async def _begin(reach: Reach, stream: Stream) -> dict[str, Any]:
    gm = reach.gm
    if gm.state is MachineState.PAUSED:  # by a tool call of the last turn
        await gm.resume()
    await reach.events.begin(gm)
    await reach.events.tell(gm, stream)
    return {"gitmachine": SessionSummary(session=gm.session, machine=gm.id)}


async def _finish(reach: Reach, stream: Stream, *, push: bool) -> dict[str, Any]:
    gm = reach.gm
    await gm.commit()
    summary = SessionSummary(session=gm.session, machine=gm.id)
    if push:
        summary |= await _published(gm)
    summary["commit"] = (await gm.status()).tip
    await reach.events.tell(gm, stream)
    return {"gitmachine": summary}


async def _published(gm: GitMachine) -> Any:
    """The work is in the vault by now, so a remote that does not take it is told of and ends nothing."""
    try:
        outcome = await gm.push()
    except (PushRejected, PushHeld) as error:
        outcome = error.outcome
    except RemoteUnreachable as error:
        return {"pushed": "vault", "reason": str(error)}
    return {"pushed": outcome.where, "reason": outcome.reason}


async def _save(reach: Reach) -> None:
    if reach.gm.state is MachineState.RUNNING:
        await make_durable(reach.gm)
