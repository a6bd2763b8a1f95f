"""What the guides take from the code: `<!-- generated: NAME -->` in a page becomes what a function here returns."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from gitmachine import errors
from gitmachine.events import TYPES, Event

PROJECT = Path(__file__).parents[1]
COOKBOOK = PROJECT / "cookbook"
PACKAGES = ("gitmachine", "gitmachine.sync", "gitmachine.testing", "langchain_gitmachine", "gitmachine_mcp")
"""Whose `__all__` is the public API. `gitmachine.errors` and `gitmachine.events` are public whole."""


def public_names() -> dict[str, list[str]]:
    """What the API reference has to cover, by the module that a user imports it from."""
    names = {package: list(importlib.import_module(package).__all__) for package in PACKAGES}
    names["gitmachine.errors"] = [kind.__name__ for kind in error_classes() if kind.__name__ not in names["gitmachine"]]
    names["gitmachine.events"] = sorted(kind.__name__ for kind in TYPES.values())
    return names


def error_classes() -> list[type[errors.GitMachineError]]:
    """Every public error, in the order of the tree."""
    kinds = [kind for name, kind in vars(errors).items() if inspect.isclass(kind) and not name.startswith("_")]
    return [kind for kind in kinds if issubclass(kind, errors.GitMachineError)]


def session_calls() -> list[str]:
    """The public members of a session."""
    from gitmachine import GitMachine

    return [name for name in dir(GitMachine) if not name.startswith("_")]


def command_names() -> list[str]:
    """Of the command line."""
    from gitmachine.cli.app import cli

    return list(cli.commands)


def events_table() -> str:
    """Each event with its keys and what it means."""
    lines = ["| event | keys | means |", "|---|---|---|"]
    for name, kind in sorted(TYPES.items()):
        keys = ", ".join(f"`{key}`" for key in kind.model_fields if key not in Event.model_fields)
        lines.append(f"| [`{name}`][gitmachine.events.{kind.__name__}] | {keys} | {_first_sentence(kind)} |")
    return "\n".join(lines)


def _first_sentence(kind: type[Any]) -> str:
    said = kind.__dict__.get("__doc__") or ""
    return " ".join(said.partition("\n\n")[0].split())


def error_tree() -> str:
    """The tree at the head of `gitmachine.errors`."""
    tree = inspect.cleandoc(str(errors.__doc__)).partition("\n\n")[2].rpartition("\n\n")[0]
    return f"```text\n{inspect.cleandoc(tree)}\n```"


def api_reference() -> str:
    """A heading for each module, below it each of its public names."""
    parts = []
    for module, names in public_names().items():
        parts.append(f"## {module}\n")
        alone = "    options: {inherited_members: false}\n"  # what they inherit says the same each time
        own = {name: alone if issubclass(_class(module, name), (Exception, Event)) else "" for name in names}
        parts += [f"::: {module}.{name}\n{options}" for name, options in own.items()]
    return "\n".join(parts)


def _class(module: str, name: str) -> type[Any]:
    value = getattr(importlib.import_module(module), name)
    return value if inspect.isclass(value) else object


def programs() -> str:
    """The cookbook: its index, then each program whole."""
    index = (COOKBOOK / "README.md").read_text().partition("\n")[2]
    names = re.findall(r"\]\(([a-z0-9_]+\.(?:py|sh))\)", index)
    parts = [re.sub(r"\]\(([a-z0-9_]+)\.(py|sh)\)", r"](#\1)", index)]
    for name in [*names, "custom_provider_command.py", "custom_provider_test.py"]:
        language = "python" if name.endswith(".py") else "sh"
        anchor = name.partition(".")[0]
        parts.append(f'## `{name}` {{ #{anchor} }}\n\n```{language}\n--8<-- "cookbook/{name}"\n```\n')
    return "\n".join(parts)


def mcp_options() -> str:
    """What `gitmachine-mcp --help` says."""
    from gitmachine_mcp.cli import parser

    return f"```text\n{parser({}).format_help()}```"


GENERATED = {
    "api": api_reference,
    "errors": error_tree,
    "events": events_table,
    "mcp options": mcp_options,
    "programs": programs,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page."""
    return re.sub(r"<!-- generated: ([a-z ]+) -->", lambda found: GENERATED[found[1]](), markdown)
