"""What the doors cost: `true` by the session itself, without await, as a tool, and as a deepagents sandbox."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gitmachine import GitMachine, LocalMachine, sync
from langchain_gitmachine import GitMachineSandbox, GitMachineToolkit, names

TIMES = 100


def report(name: str, spent: list[float], base: float | None = None) -> float:
    median = statistics.median(spent) * 1000
    more = "" if base is None else f"  {median - base:+7.2f} ms, {median / base:.2f} of the session itself"
    print(f"{name:34} {median:8.2f} ms{more}")
    return median


async def awaited(work: Callable[[], Awaitable[object]]) -> list[float]:
    spent = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await work()
        spent.append(time.perf_counter() - began)
    return spent


def called(work: Callable[[], object]) -> list[float]:
    spent = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return spent


async def with_await(checkpoint: Any) -> None:
    async with GitMachine(LocalMachine(), checkpoint=checkpoint) as gm:
        (tool,) = GitMachineToolkit(machine=gm).get_tools(include=[names.RUN])
        sandbox = GitMachineSandbox(gm)
        base = report("await gm.run", await awaited(lambda: gm.run("true")))
        report("await tool.ainvoke", await awaited(lambda: tool.ainvoke({"command": "true"})), base)
        report("await sandbox.aexecute", await awaited(lambda: sandbox.aexecute("true")), base)


def without_await(checkpoint: Any) -> None:
    with sync.GitMachine(LocalMachine(), checkpoint=checkpoint) as gm:
        (tool,) = GitMachineToolkit(machine=gm).get_tools(include=[names.RUN])
        base = report("gm.run without await", called(lambda: gm.run("true")))
        report("tool.invoke", called(lambda: tool.invoke({"command": "true"})), base)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gm-bench-") as state:
        Path(state).chmod(0o711)
        os.environ["GITMACHINE_HOME"] = state
        for checkpoint in ("off", "command"):
            print(f"checkpoint={checkpoint!r}")
            asyncio.run(with_await(checkpoint))
            without_await(checkpoint)


if __name__ == "__main__":
    main()
