"""All figures, by name: what `make bench ONLY=…` knows. Each is taken in a process of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Effort, Row
from bench.repositories import Repositories


@dataclass(frozen=True, slots=True)
class Place:
    """Where a figure is taken, and how thoroughly."""

    work: Path
    """Empty, and reachable for the user that root's machines run as."""
    repositories: Repositories
    long: bool = False
    """The sizes that do not fit into the ordinary run's time."""

    def below(self, name: str) -> Path:
        """A new directory."""
        path = self.work / name
        path.mkdir()
        return path

    def effort(self, seconds: float, fewest: int = 20, warm_up: int = 2) -> Effort:
        """Twenty samples; where `fewest` is less, as many as fit into the seconds, unless the run is a long one."""
        return Effort(warm_up=warm_up, seconds=seconds, fewest=20 if self.long else fewest)


Take = Callable[[Place], Coroutine[Any, Any, list[Row]]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One entry. `bench.figures.<module>` has the function that takes it, called like the figure."""

    name: str
    module: str
    seconds: int
    """What it may take in the ordinary run, its preparation included. All together must stay below twenty minutes."""
    about: str
    leaves_much: bool = False
    """Tens of thousands of files and more: see bench/disk.py."""

    def load(self) -> Take:
        take: Take = getattr(importlib.import_module(f"bench.figures.{self.module}"), self.name)
        return take


FIGURES = (
    Figure("start", "start", 300, "repo ready on a seen repository, with and without the warm spare", leaves_much=True),
    Figure("first_start", "start", 90, "repo ready on a repository not seen before", leaves_much=True),
    Figure("run", "commands", 10, "a command on LocalMachine"),
    Figure("concurrent", "commands", 60, "100 commands at once"),
    Figure("stream", "commands", 50, "1 GiB of output"),
    Figure("docker", "docker", 60, "a command and a start in a container"),
    Figure("e2b", "e2b", 20, "a command in an E2B sandbox"),
    Figure("changes", "changes", 180, "diff, commit and checkpoint", leaves_much=True),
    Figure("checkpoint", "changes", 30, "what a checkpoint adds to a command"),
    Figure("fork", "changes", 70, "a fork, and what fifty take", leaves_much=True),
    Figure("pause", "pause", 20, "pause and resume"),
    Figure("many", "many", 80, "many sessions on one machine"),
    Figure("events", "events", 50, "the event log"),
    Figure("doors", "doors", 40, "MCP and LangChain calls"),
    Figure("programs", "programs", 60, "import, command line and server start"),
    Figure("peers", "peers", 80, "the same job by other people's packages"),
)


def chosen(names: str) -> list[Figure]:
    """Those named in a list with commas; all for an empty one. Raises SystemExit with what there is."""
    known = {figure.name: figure for figure in FIGURES}
    wanted = [name for name in names.replace(",", " ").split() if name]
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"no figure {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in wanted] or list(FIGURES)
