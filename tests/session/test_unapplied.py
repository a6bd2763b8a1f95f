"""A commit that the machine's repository did not take stays on the session branch."""

from __future__ import annotations

from tests.session.conftest import Opener, out, said
from tests.support.git_server import Repository


async def test_a_commit_that_the_machine_did_not_take_is_what_the_next_one_builds_on(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo one > one.txt; touch .git/refs/heads/fix-1.lock .git/index.lock")
    first = await gm.commit("one")
    assert "capture_incomplete" in await said(gm)
    await gm.push()
    await gm.run("rm .git/refs/heads/fix-1.lock .git/index.lock; echo two > two.txt")
    second = await gm.commit("two")
    assert (await gm.push()).where == "remote"
    assert project.heads()["fix-1"] == second
    assert project.git("rev-parse", "fix-1^") == first
    assert await out(gm, "git rev-parse HEAD") == second
    assert await out(gm, "git status --porcelain") == ""
    # From here on the machine's word counts again.
    await gm.run("git reset -q --hard HEAD~1")
    assert await gm.hash() == first
    await gm.run("echo three > three.txt")
    third = await gm.commit("three")
    assert await out(gm, "git rev-parse HEAD^") == first
    assert await gm.hash() == third
