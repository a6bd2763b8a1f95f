"""One operation is one request, since each costs the way to the provider and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gitmachine import E2BMachine, GitMachine
from tests.e2b_endpoint import E2BEndpoint
from tests.support.git_server import TOKEN, Repository


class Count:
    """How many requests came while it was held."""

    def __init__(self, endpoint: E2BEndpoint) -> None:
        self._endpoint = endpoint
        self.seen: dict[str, int] = {}

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        self._endpoint.forget()
        yield
        self.seen[name] = len(self._endpoint.requests)


async def test_each_operation_of_a_session_is_as_few_requests_as_promised(
    e2b: E2BEndpoint, project: Repository
) -> None:
    count = Count(e2b)
    gm = GitMachine(E2BMachine(), project.url, TOKEN, session="fix-1")
    async with count.of("start"):
        await gm.start()
    async with count.of("run"):
        assert (await gm.run("echo new >new.txt; seq 3 >numbers")).ok
    async with count.of("diff"):
        assert "+new" in await gm.diff()
    async with count.of("status"):
        await gm.status()
    async with count.of("commit"):
        sha = await gm.commit("Add a file")
    async with count.of("run after commit"):
        result = await gm.run("git log -1 --format=%H; git status --porcelain; echo more >>new.txt")
    async with count.of("pause"):
        await gm.pause()
    async with count.of("resume"):
        await gm.resume()
    await gm.run("echo last >last.txt")
    async with count.of("stop"):
        await gm.stop()
    assert result.stdout == f"{sha}\n"
    assert count.seen == {
        "start": 4,
        "run": 1,
        "diff": 1,
        "status": 1,
        "commit": 1,
        "run after commit": 1,
        "pause": 2,
        "resume": 1,
        "stop": 2,
    }


async def test_what_the_guard_keeps_out_of_a_commit_is_not_in_the_machines_either(
    gm: GitMachine, e2b: E2BEndpoint
) -> None:
    await gm.run("echo SECRET=1 >.env; echo good >good.txt")
    sha = await gm.commit("Some work")
    shown = await gm.run("git log -1 --format=%H; git show --name-only --format= HEAD; git status --porcelain")
    assert shown.stdout.split() == [sha, "good.txt", "??", ".env"]
    await gm.run("echo SECRET=2 >.env")
    assert await gm.commit("Nothing but a secret") is None
    assert (await gm.run("git log -1 --format=%H; git status --porcelain")).stdout.split() == [sha, "??", ".env"]


async def test_commands_side_by_side_leave_the_last_state_in_the_vault(gm: GitMachine, e2b: E2BEndpoint) -> None:
    import asyncio

    await asyncio.gather(*(gm.run(f"for i in 1 2 3; do echo {n} >>file-{n}; done") for n in range(8)))
    names = (await gm.diff(stat=True)).splitlines()
    assert [line.split()[0] for line in names[:-1]] == [f"file-{n}" for n in range(8)]
    files = (await gm._opened("test").branch.refs())["files"]
    tree = await gm._opened("test").branch.vault.tree_of(files)
    captured: Any = await gm._opened("test").capture()
    assert captured.tree == tree
