"""What cannot be taken back is asked of a person where one can be asked, and else needs an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mcp.client.client import Client
from mcp_types import ElicitResult

from gitmachine_mcp import Options, build_server
from tests.mcp.conftest import ERAS, ok, refused
from tests.support.git_server import Repository

Connect = Callable[..., Client]


class Person:
    """Answers what is asked, and remembers it."""

    def __init__(self, *, agrees: bool) -> None:
        self.agrees = agrees
        self.asked: list[str] = []

    async def __call__(self, context: Any, params: Any) -> ElicitResult:
        self.asked.append(params.message)
        if self.agrees:
            return ElicitResult(action="accept", content={"agree": True})
        return ElicitResult(action="decline")


@pytest.fixture(params=ERAS)
def connect(request: pytest.FixtureRequest, environment: dict[str, str], project: Repository) -> Connect:
    del environment

    def made(person: Person | None = None, **options: Any) -> Client:
        server = build_server(Options(repo=project.url, **options))
        return Client(server, mode=request.param, elicitation_callback=person)

    return made


async def test_the_default_branch_itself_is_pushed_to_with_consent_only(connect: Connect, project: Repository) -> None:
    before = project.heads()["main"]
    async with connect(branch="main") as client:
        await ok(client, "files", op="write", path="new.txt", content="x")
        sha = (await ok(client, "commit", message="On main"))["sha"]
        assert "allow_protected=true" in await refused(client, "push")
        assert "allow_protected=true" in await refused(client, "stop")
        assert project.heads()["main"] == before
        assert (await ok(client, "push", allow_protected=True))["sha"] == sha
        assert project.heads()["main"] == sha
        await ok(client, "stop", allow_protected=True)


@pytest.mark.parametrize("agrees", [True, False])
async def test_a_person_is_asked_about_the_default_branch(agrees: bool, connect: Connect, project: Repository) -> None:
    before, person = project.heads()["main"], Person(agrees=agrees)
    async with connect(person, branch="main") as client:
        await ok(client, "files", op="write", path="new.txt", content="x")
        sha = (await ok(client, "commit", message="On main"))["sha"]
        if agrees:
            assert (await ok(client, "push"))["sha"] == sha
        else:
            assert "did not agree" in await refused(client, "push", allow_protected=True)
    assert project.heads()["main"] == (sha if agrees else before)
    assert len(person.asked) == 1
    assert "'main'" in person.asked[0]


async def test_unpublished_work_is_left_behind_only_when_that_is_meant(connect: Connect, project: Repository) -> None:
    async with connect() as client:
        await ok(client, "files", op="write", path="new.txt", content="x")
        project.reject_pushes()
        said = await refused(client, "stop")
        assert "discard=true" in said
        assert "protected branch" in said.lower()
        assert (await ok(client, "run", command="cat new.txt"))["output"] == "x"
        stopped = await ok(client, "stop", discard=True)
        assert (stopped["where"], stopped["discarded"]) == ("vault", True)
        again = await ok(client, "start", resume=stopped["session"])
        assert (await ok(client, "run", command="cat new.txt", session=again["session"]))["output"] == "x"
        project.accept_pushes()
        await ok(client, "stop")


@pytest.mark.parametrize("agrees", [True, False])
async def test_a_person_is_asked_whether_work_may_stay_unpublished(
    agrees: bool, connect: Connect, project: Repository
) -> None:
    person = Person(agrees=agrees)
    async with connect(person) as client:
        await ok(client, "files", op="write", path="new.txt", content="x")
        project.reject_pushes()
        if agrees:
            assert (await ok(client, "stop"))["discarded"]
        else:
            assert "did not agree" in await refused(client, "stop", discard=True)
            assert (await ok(client, "run", command="cat new.txt"))["output"] == "x"
    assert len(person.asked) == 1
    assert "unpublished" in person.asked[0]


async def test_nobody_is_asked_when_there_is_nothing_to_lose(connect: Connect) -> None:
    person = Person(agrees=False)
    async with connect(person) as client:
        await ok(client, "run", command="true")
        assert (await ok(client, "stop", discard=True))["where"] == "nothing"
    assert person.asked == []


async def test_a_held_push_names_the_argument_that_lets_it_through(connect: Connect, project: Repository) -> None:
    path = ".github/workflows/ci.yml"
    async with connect(branch="with-ci") as client:
        await ok(client, "files", op="write", path=path, content="on: push\n")
        await ok(client, "commit", message="Continuous integration")
        said = await refused(client, "push")
        assert path in said
        assert "`allow`" in said
        assert (await ok(client, "push", allow=[path]))["where"] == "remote"
        assert project.git("show", f"with-ci:{path}") == "on: push"
        await ok(client, "stop", discard=True)
