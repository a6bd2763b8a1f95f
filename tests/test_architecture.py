"""The walls of the house: who may import whom, and what the public names are."""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gitmachine

ROOT = Path(gitmachine.__file__).parent
PACKAGES = (
    ROOT,
    ROOT.parent / "mcp_server" / "gitmachine_mcp",
    ROOT.parent / "integrations" / "langchain" / "langchain_gitmachine",
)
MODULES = {
    ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted(package.rglob("*.py"))
}
FIRST_PARTY = {package.name for package in PACKAGES}

MAY_NOT_IMPORT = {
    # The engine rooms know neither each other nor the house around them.
    "gitmachine.machines": ("gitmachine.git", "gitmachine.git_machine", "gitmachine.session", "gitmachine.opening"),
    "gitmachine.git": (
        "gitmachine.machines", "gitmachine.git_machine", "gitmachine.session", "gitmachine.sessions",
        "gitmachine.opening", "gitmachine.events",
    ),
    "gitmachine.machine": ("gitmachine.git", "gitmachine.git_machine", "gitmachine.machines", "gitmachine.session"),
    # The words that everything is said in.
    "gitmachine.types": ("gitmachine",),
    "gitmachine.settings": ("gitmachine",),
    # Nobody in the house knows the doors, nor the tools for authors of providers.
    "gitmachine": ("gitmachine_mcp", "langchain_gitmachine"),
    # A door leads into the house, not to another door.
    "gitmachine_mcp": (
        "langchain_gitmachine", "gitmachine.cli", "gitmachine.testing", "gitmachine.ui", "gitmachine.watch",
    ),
    "langchain_gitmachine": (
        "gitmachine_mcp", "gitmachine.cli", "gitmachine.testing", "gitmachine.doctor", "gitmachine.ui",
        "gitmachine.watch",
    ),
    "gitmachine.cli": ("gitmachine.testing",),
    "gitmachine.ui": ("gitmachine.cli", "gitmachine.testing", "gitmachine.doctor", "gitmachine.watch"),
    "gitmachine.watch": ("gitmachine.cli", "gitmachine.testing", "gitmachine.doctor", "gitmachine.ui"),
}  # fmt: skip
DOORS = ("gitmachine.cli", "gitmachine.ui", "gitmachine.watch", "gitmachine.testing", "gitmachine.doctor")
THIRD_PARTY = {
    "gitmachine": {"pydantic", "pydantic_core"},  # of one make: pydantic itself is written on its core
    "gitmachine.cli": {"click"},
    "gitmachine.testing": {"pytest"},
    "gitmachine.ui": {"jinja2", "markupsafe", "starlette", "uvicorn"},
    "gitmachine.watch": {"rich", "textual"},
    "gitmachine_mcp": {"anyio", "mcp", "mcp_types", "pydantic", "starlette"},
    "langchain_gitmachine": {"deepagents", "deepagents_code", "langchain", "langchain_core", "langgraph", "pydantic"},
}
"""What may be imported when a module is loaded; all else waits until it is needed."""
DOORSTEPS = (
    "gitmachine_mcp", "gitmachine_mcp.cli", "gitmachine_mcp.options",
    "langchain_gitmachine", "langchain_gitmachine.names", "gitmachine.ui", "gitmachine.watch",
)  # fmt: skip
"""What is loaded before it is known whether a door's extra is there: to say which extra is missing."""


def _within(module: str, packages: tuple[str, ...] | str) -> bool:
    names = (packages,) if isinstance(packages, str) else packages
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _imports(node: ast.AST, *, deep: bool) -> Iterator[str]:
    """The modules that a tree imports: with `deep` anywhere, else when it is loaded."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute here"
            assert child.module is not None
            names = [f"{child.module}.{alias.name}" for alias in child.names]
            yield from (name if name in MODULES else child.module for name in names)
        elif not _for_types_only(child) and (deep or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from _imports(child, deep=deep)


def _imported(module: str, *, deep: bool) -> set[str]:
    return set(_imports(ast.parse(MODULES[module].read_text()), deep=deep))


@pytest.mark.parametrize("package", MAY_NOT_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    wrong = {
        (module, name)
        for module in MODULES
        if _within(module, package)
        for name in _imported(module, deep=True)
        if _within(name, MAY_NOT_IMPORT[package]) and not _within(name, package)
    }
    assert not wrong


def test_the_core_does_not_know_its_doors() -> None:
    wrong = {
        (module, name)
        for module in MODULES
        if _within(module, "gitmachine") and not _within(module, DOORS)
        for name in _imported(module, deep=True)
        if _within(name, DOORS)
    }
    assert not wrong


def test_loading_a_module_needs_no_optional_dependency() -> None:
    wrong = set()
    for module in MODULES:
        allowed = set().union(*(names for package, names in THIRD_PARTY.items() if _within(module, package)))
        roots = {name.partition(".")[0] for name in _imported(module, deep=False)}
        wrong |= {(module, name) for name in roots - allowed - FIRST_PARTY if name not in sys.stdlib_module_names}
    assert not wrong


@pytest.mark.parametrize("module", DOORSTEPS)
def test_a_door_without_its_extra_can_still_say_so(module: str) -> None:
    roots = {name.partition(".")[0] for name in _imported(module, deep=False)}
    assert roots <= FIRST_PARTY | set(sys.stdlib_module_names)
    inside = {name for name in _imported(module, deep=False) if _within(name, tuple(FIRST_PARTY - {"gitmachine"}))}
    assert inside <= set(DOORSTEPS)


def test_there_is_no_circle_of_imports() -> None:
    graph = {
        module: {name for name in _imported(module, deep=False) if name in MODULES and name != module}
        for module in MODULES
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_the_agent_stands_alone() -> None:
    module = "gitmachine.machines.local.agent"
    assert {name.partition(".")[0] for name in _imported(module, deep=True)} <= set(sys.stdlib_module_names)


def test_public_names_are_sorted_and_all_there() -> None:
    assert gitmachine.__all__ == sorted(set(gitmachine.__all__))
    assert not [name for name in gitmachine.__all__ if not hasattr(gitmachine, name)]


def test_public_names_are_exactly_what_the_package_imports() -> None:
    tree = ast.parse(MODULES["gitmachine"].read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "typing" and node.module != "__future__"
        for alias in node.names
    }
    assert imported == set(gitmachine.__all__)


def test_unknown_public_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = gitmachine.Nonsense
