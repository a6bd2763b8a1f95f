"""Whatever goes wrong with whichever request of a session: no commit is lost and no sandbox is left."""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress
from typing import Any

import pytest

from gitmachine import E2BMachine, GitMachine
from gitmachine.errors import GitMachineError, MachineLost
from tests.e2b_endpoint import Answer, Delay, Drop, E2BEndpoint, Expire, Fault, Recorded, Reset, Truncate, at, nothing
from tests.support.git_server import TOKEN, Repository

REQUESTS = 12
"""Of the session below."""
EVERY = 1 if os.environ.get("GITMACHINE_ALL_FAULTS") else 4
"""Of the pairs of a fault and a request one in so many is tried, each fault and each request among them; or all."""

PASSING: dict[str, Fault] = {
    "a busy service": Answer(429, headers={"Retry-After": "0"}),
    "an error inside the service": Answer(500),
    "a gateway without a backend": Answer(502, body=b"<html>bad gateway</html>"),
    "a service in maintenance": Answer(503, body=b"<html>later</html>"),
    "a connection that breaks before the work": Reset("before"),
    "a connection that breaks after the work": Reset("after"),
    "a stream that breaks in the middle": Drop(120),
    "a stream that ends in the middle": Truncate(120),
    "a slow start": Delay(1.0),
}


class Work:
    """One session from start to stop, with what it was promised on the way."""

    def __init__(self, project: Repository, name: str) -> None:
        self.gm = GitMachine(E2BMachine(), project.url, TOKEN, session=name)
        self.commits: list[str] = []
        self.output = ""

    async def go(self) -> None:
        gm = self.gm
        await gm.start()
        self.output += (await gm.run("for i in 1 2 3; do echo line $i; done; echo x >>runs")).stdout
        self.commits.append(await gm.commit("First") or "")
        await gm.pause()
        await gm.resume()
        self.output += (await gm.run("cat runs; echo y >>runs")).stdout
        await gm.stop()


@pytest.mark.parametrize("name", PASSING)
async def test_a_fault_that_passes_is_not_noticed_at_any_request(
    name: str, e2b: E2BEndpoint, project: Repository
) -> None:
    for index in range(list(PASSING).index(name) % EVERY, REQUESTS, EVERY):
        e2b.forget()
        e2b.inject(at(index, PASSING[name]))
        work = Work(project, f"session-{index}")
        await work.go()
        assert work.output == "line 1\nline 2\nline 3\nx\n", index
        assert set(work.commits) <= set(project.git("rev-list", f"session-{index}").split())
        assert project.git("show", f"session-{index}:runs") == "x\ny"
        assert e2b.sandboxes == {}
        assert not any(hunted(request, TOKEN) for request in e2b.requests)


async def test_a_sandbox_that_expires_under_a_session_loses_no_commit(e2b: E2BEndpoint, project: Repository) -> None:
    for index in range(1, REQUESTS, min(EVERY, 2)):
        e2b.forget()
        e2b.inject(at(index, Expire()))
        work = Work(project, f"session-{index}")
        error = await _failure(work)
        e2b.inject(nothing)
        if error is not None:
            assert isinstance(error, MachineLost), index
            assert error.retryable is False
            if work.gm._session is not None and work.commits:
                again = await GitMachine.reopen(work.gm.session, TOKEN, machine=E2BMachine())
                assert (await again.run("cat runs")).stdout.startswith("x\n")
                assert "recovered" in [event.name for event in await again.events()]
                assert "machine_lost" in [event.name for event in await again.events()]
                await again.stop()
        if work.commits:
            assert set(work.commits) <= set(project.git("rev-list", f"session-{index}").split()), index
        assert e2b.sandboxes == {}, index


@pytest.mark.parametrize("index", [0, 3, 5, 7, 11])
async def test_an_outage_is_an_error_to_be_retried_and_then_the_session_ends_well(
    index: int, e2b: E2BEndpoint, project: Repository
) -> None:
    e2b.forget()
    e2b.inject(at(index, Reset("before"), times=1000))
    work = Work(project, "fix-1")
    error = await _failure(work)
    assert isinstance(error, GitMachineError)
    assert error.retryable
    e2b.inject(nothing)
    if index > 3:
        if work.gm.state == "paused":
            await work.gm.resume()
        await work.gm.stop()
        assert set(work.commits) <= set(project.git("rev-list", "fix-1").split())
    for sandbox in e2b.sandboxes:  # a start that cannot reach E2B any more leaves its sandbox to its lease
        assert index in (1, 2, 3)
        await (await E2BMachine.connect(sandbox)).stop()


async def _failure(work: Work) -> Exception | None:
    try:
        await work.go()
    except GitMachineError as error:
        return error
    return None


def hunted(request: Recorded, secret: str) -> bool:
    """The secret is in a request, as it is or in what the request carries encoded."""
    if request.contains(secret.encode()) or request.contains(base64.b64encode(secret.encode())):
        return True
    with suppress(ValueError):
        envs: dict[str, Any] = json.loads(bytes(request.body)[5:])["process"]["envs"]
        carried = "".join(envs[name] for name in sorted(envs, key=lambda n: int(n[3:])) if name.startswith("GM_"))
        return secret.encode() in base64.b64decode(carried)
    return False
