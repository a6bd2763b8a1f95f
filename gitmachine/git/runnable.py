"""Which files of a change run, or decide what runs, before anybody means to run them.

A build, an editor, a shell that enters the directory or an agent that reads it acts on these: whoever takes over
a change that somebody else's program made should look at them first.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gitmachine.git.guard import CI_PATHS
from gitmachine.git.parse import Change

if TYPE_CHECKING:
    from gitmachine.git.objects import ObjectStore

_LINK, _SUBMODULE, _EXECUTABLE = "120000", "160000", "100755"

_BY_REASON: dict[str, tuple[str, ...]] = {
    "an editor runs it, or runs what it names": (
        ".vscode/*", "*.code-workspace", ".idea/*", ".zed/*", ".devcontainer/*", ".devcontainer.json", ".vimrc",
        ".exrc", ".nvimrc", ".nvim.lua", ".dir-locals.el",
    ),
    "a shell or a version manager acts on it when the directory is entered": (
        ".envrc", ".tool-versions", "mise.toml", ".mise.toml", ".mise/*", "shell.nix", "flake.nix", ".autoenv",
    ),
    "git acts on it": (
        ".gitattributes", ".gitmodules", ".lfsconfig", ".githooks/*", ".husky/*", ".pre-commit-config.yaml",
        "lefthook.yml", ".lefthook.yml",
    ),
    "building, testing or installing runs it": (
        "makefile", "gnumakefile", "*.mk", "justfile", "taskfile.yml", "taskfile.yaml", "rakefile", "gemfile",
        "package.json", ".npmrc", ".yarnrc", ".yarnrc.yml", ".yarn/*", ".pnpmfile.cjs", "setup.py", "setup.cfg",
        "pyproject.toml", "conftest.py", "noxfile.py", "tox.ini", "sitecustomize.py", "usercustomize.py", "*.pth",
        "build.rs", ".cargo/*", "cmakelists.txt", "configure", "configure.ac", "meson.build", "*.gradle",
        "*.gradle.kts", "gradlew", "gradlew.bat", "gradle/wrapper/*", "mvnw", "mvnw.cmd", ".mvn/*", "build.xml",
        "pom.xml", "dockerfile", "*.dockerfile", "containerfile", "docker-compose*.y*ml", "compose.y*ml", "vagrantfile",
        "binding.gyp", "build.zig", "composer.json", "build.sbt", "bazelrc", ".bazelrc", "*.bzl",
    ),
    "an agent takes it as instructions, or starts what it names": (
        ".mcp.json", "mcp.json", ".claude/*", ".cursor/*", ".cursorrules", ".aider.conf.yml", "agents.md", "claude.md",
        "gemini.md", ".github/copilot-instructions.md", ".codex/*", ".gemini/*", ".windsurfrules",
    ),
}  # fmt: skip
"""Patterns of fnmatch(3) in lower case; one with a slash is for paths from any directory on, others for base names."""


@dataclass(frozen=True, slots=True)
class Caution:
    """A changed path to look at before anything in the checkout is run."""

    path: bytes
    reason: str


async def look_first(store: ObjectStore, changes: Iterable[Change]) -> tuple[Caution, ...]:
    """Those of the changes that run by themselves, decide what runs, or lead out of the checkout."""
    new = [change for change in changes if change.status != "D"]
    found = {change.path: reason for change in new if (reason := _reason(change))}
    links = [change for change in new if change.new_mode == _LINK]
    targets = await store.blobs([change.new_sha for change in links])
    for link in links:
        if _leads_out(link.path, targets.get(link.new_sha, b"")):
            found[link.path] = "it is a link that leads out of the checkout"
    return tuple(Caution(path, reason) for path, reason in sorted(found.items()))


def _reason(change: Change) -> str | None:
    name = change.path.decode("utf-8", "replace").lower()
    if change.new_mode == _SUBMODULE:
        return "it is a submodule: another repository is fetched for it"
    if any(name.startswith(entry.lower()) if entry.endswith("/") else name == entry.lower() for entry in CI_PATHS):
        return "CI runs it, with the repository's secrets"
    for reason, patterns in _BY_REASON.items():
        if _matches(name, patterns):
            return reason
    if change.new_mode == _EXECUTABLE and change.old_mode != _EXECUTABLE:
        return "it has become executable"
    return None


def _matches(name: str, patterns: Sequence[str]) -> bool:
    base = name.rpartition("/")[2]
    for pattern in patterns:
        if "/" not in pattern:
            if fnmatchcase(base, pattern):
                return True
        elif fnmatchcase(name, pattern) or fnmatchcase(name, f"*/{pattern}"):
            return True
    return False


def _leads_out(link: bytes, target: bytes) -> bool:
    if target.startswith(b"/"):
        return True
    there = posixpath.normpath(posixpath.join(posixpath.dirname(link), target))
    return there == b".." or there.startswith(b"../")
