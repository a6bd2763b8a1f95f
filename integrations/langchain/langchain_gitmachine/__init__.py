"""GitMachine sessions for LangChain, LangGraph and deepagents: tools, a middleware and a sandbox.

    from gitmachine import GitMachine, LocalMachine
    from langchain_gitmachine import GitMachineToolkit

    async with GitMachine(machine=LocalMachine(), repository="https://…", session="fix-1") as gm:
        agent = create_agent(model, GitMachineToolkit(machine=gm).get_tools())

Needs the extra `langchain`; the sandbox needs `deepagents`. Importing it without them raises MissingExtra.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gitmachine.errors import MissingExtra

if TYPE_CHECKING:
    from langchain_gitmachine.middleware import GitMachineMiddleware, branch_for
    from langchain_gitmachine.sandbox import GitMachineSandbox, gitmachine_backend
    from langchain_gitmachine.toolkit import GitMachineToolkit
    from langchain_gitmachine.tools import GitMachineTool, ToolLimits

_HOMES = {
    "GitMachineMiddleware": ("middleware", "langchain"),
    "GitMachineSandbox": ("sandbox", "deepagents"),
    "GitMachineTool": ("tools", "langchain"),
    "GitMachineToolkit": ("toolkit", "langchain"),
    "ToolLimits": ("tools", "langchain"),
    "branch_for": ("middleware", "langchain"),
    "gitmachine_backend": ("sandbox", "deepagents"),
}

__all__ = [
    "GitMachineMiddleware",
    "GitMachineSandbox",
    "GitMachineTool",
    "GitMachineToolkit",
    "ToolLimits",
    "branch_for",
    "gitmachine_backend",
]

_NEEDED = {"langchain": ("langchain_core", "langgraph", "langchain"), "deepagents": ("deepagents",)}


def _require(extra: str) -> None:
    missing = [name for name in _NEEDED[extra] if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"langchain_gitmachine needs {' and '.join(missing)}, which the extra `{extra}` brings: "
            f'install "gitmachine-sdk[{extra}]"'
        )


_require("langchain")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _HOMES[name]
    _require(extra)
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
