"""The whole story: an agent mends a failing test in a repository that it can reach by tools only."""

from __future__ import annotations

from typing import Any

from mcp.client.client import Client

from tests.mcp.conftest import ok, on_stdio
from tests.support.git_server import Repository


async def agent(client: Client, repository: str) -> str:
    """Finds what fails, mends it, proves it, publishes it. Knows the repository's address only. Gives the branch."""
    begun = await ok(client, "start", repo=repository)
    session: dict[str, Any] = {"session": begun["session"]}
    listed = await ok(client, "files", **session)
    tests = [name for name in listed["entries"] if name.startswith("test_")]
    failed = await ok(client, "run", command=f"python3 {tests[0]}", **session)
    assert failed["exit_code"] == 1
    module = (await ok(client, "files", op="read", path=tests[0], **session))["text"].split()[1]
    source = await ok(client, "files", op="read", path=f"{module}.py", **session)
    assert "a - b" in source["text"]
    await ok(client, "files", op="edit", path=f"{module}.py", old="a - b", new="a + b", **session)
    assert (await ok(client, "run", command=f"python3 {tests[0]}", **session))["exit_code"] == 0
    changed = await ok(client, "diff", base="session", **session)
    assert f"{module}.py" in [file["path"] for file in changed["files"]]
    await ok(client, "commit", message="Add where it subtracted", paths=[f"{module}.py"], **session)
    assert (await ok(client, "push", **session))["where"] == "remote"
    await ok(client, "stop", **session)
    return str(begun["branch"])


async def test_an_agent_mends_a_failing_test_and_the_remote_has_its_branch(
    environment: dict[str, str], project: Repository
) -> None:
    main = project.heads()["main"]
    async with on_stdio(environment) as client:
        branch = await agent(client, project.url)
    assert project.git("show", f"{branch}:calc.py") == "def add(a, b):\n    return a + b"
    assert "Add where it subtracted" in project.git("log", "--format=%s", branch)
    assert project.heads()["main"] == main


async def test_two_ways_are_tried_from_one_step_and_one_is_taken_back(
    environment: dict[str, str], project: Repository
) -> None:
    async with on_stdio(environment, "--repo", project.url) as client:
        first = (await ok(client, "run", command="echo good > way.txt"))["session"]
        await ok(client, "run", command="echo bad > way.txt; rm calc.py", session=first)
        steps = (await ok(client, "logs", session=first))["history"]
        good = next(step["number"] for step in steps if step["command"].startswith("echo good"))
        second = (await ok(client, "fork", session=first, branch="other-way", at=good))["session"]
        assert (await ok(client, "run", command="cat way.txt", session=second))["output"] == "good\n"
        undone = await ok(client, "rewind", session=first, to=good)
        assert (await ok(client, "run", command="cat way.txt; ls calc.py", session=first))["exit_code"] == 0
        await ok(client, "rewind", session=first, to=undone["undo"])
        assert (await ok(client, "run", command="cat way.txt", session=first))["output"] == "bad\n"
        await ok(client, "stop", session=second)
        await ok(client, "stop", session=first)
    assert project.git("show", "other-way:way.txt") == "good"
