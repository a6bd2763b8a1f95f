"""What was checkpointed and not committed is there again when the session goes on in a new machine."""

from __future__ import annotations

import pytest

from tests.session.conftest import Opener, out
from tests.support.git_server import GitServer, Repository

CHANGES = {
    "changed, new and nested files": "echo more >> README.md; mkdir -p d; echo new > d/new; printf '\\0\\377' > raw",
    "a deleted file": "rm README.md",
    "everything deleted": "git ls-files -z | xargs -0 rm -f",
    "links and modes": "ln -s nowhere link; echo x > tool; chmod +x tool",
    "what the guard keeps out of commits": "echo SECRET=1 > .env",
    "odd names": "echo x > \"$(printf 'a\\nb \\303\\251 \\377')\"; echo y > ./-n",
}
LOOK = "git status --porcelain=v1 -z | base64; find . -path ./.git -prune -o -type f -exec sha1sum {} + | sort"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_the_working_tree_is_as_it_was(session: Opener, change: str) -> None:
    first = await session(auto_commit=False)
    await out(first, change)
    before = await out(first, LOOK)
    await first.machine.stop()  # as when the host went down: without a word
    second = await session(auto_commit=False)
    assert await out(second, LOOK) == before
    await second.stop()


async def test_an_empty_repository_gets_its_files_back_too(session: Opener, git_server: GitServer) -> None:
    repository = git_server.empty()
    first = await session(repository, auto_commit=False)
    await out(first, "echo new > new")
    await first.machine.stop()
    second = await session(repository, auto_commit=False)
    assert await out(second, "cat new") == "new"
    await second.stop()


async def test_work_of_others_on_the_branch_is_not_undone(session: Opener, project: Repository) -> None:
    first = await session()
    await out(first, "echo mine > mine")
    await first.stop()
    tree = project.git("rev-parse", "main^{tree}")
    theirs = project.git("commit-tree", "-p", "fix-1", "-m", "Theirs", tree)
    project.git("update-ref", "refs/heads/fix-1", theirs)
    second = await session()
    assert (
        await out(second, "git rev-parse HEAD; git status --short; ls mine 2>/dev/null || echo gone")
        == f"{theirs}\ngone"
    )
    await second.stop()
