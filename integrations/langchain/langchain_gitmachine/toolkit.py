"""GitMachineToolkit: a session as LangChain tools."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.tools.base import BaseToolkit
from pydantic import ConfigDict, Field, PrivateAttr

from gitmachine import ConfigurationError, GitMachine, sync
from langchain_gitmachine.names import ALL_TOOLS
from langchain_gitmachine.reach import OneSession, Reach, Sessions
from langchain_gitmachine.tools import GitMachineTool, ToolLimits
from langchain_gitmachine.verbs import TOOLS


class GitMachineToolkit(BaseToolkit):
    """A session's verbs as tools, for a session of `gitmachine` or of `gitmachine.sync`.

    Starting and stopping belong to the session's owner and are no tools: use `with` or `async with` around the agent.
    A session of `gitmachine` should be started on the loop that the agent runs on; without `await` use one of
    `gitmachine.sync`, which works from every loop and thread.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    machine: GitMachine | sync.GitMachine = Field(exclude=True, repr=False)
    limits: ToolLimits = Field(default_factory=ToolLimits)
    _sessions: Sessions = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        self._sessions = OneSession(Reach(self.machine))

    def get_tools(self, *, include: Collection[str] | None = None, exclude: Collection[str] = ()) -> list[BaseTool]:
        """The tools, or those named, such as `names.RUN`. Raises ConfigurationError for a name that is none."""
        return list(make_tools(self._sessions, self.limits, include, exclude))


def make_tools(
    sessions: Sessions, limits: ToolLimits, include: Collection[str] | None, exclude: Collection[str]
) -> list[GitMachineTool]:
    """Tools for whatever session `sessions` finds."""
    wanted = ALL_TOOLS if include is None else tuple(include)
    if unknown := {*wanted, *exclude} - set(ALL_TOOLS):
        raise ConfigurationError(f"no tool is named {', '.join(sorted(unknown))}; there are {', '.join(ALL_TOOLS)}")
    # As Any: the name and description have their defaults in each class, which the type of the base does not say.
    kinds: list[Any] = [TOOLS[name] for name in wanted if name not in exclude]
    return [kind(sessions=sessions, limits=limits) for kind in kinds]
