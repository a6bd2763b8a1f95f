"""Creation, leases, pauses and ends, by the unmodified SDK."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2b import (
    E2B,
    AsyncSandbox,
    AuthenticationException,
    SandboxException,
    SandboxNotFoundException,
    SandboxNotRunningException,
    SandboxQuery,
    SandboxState,
)

from tests.e2b_endpoint import E2BEndpoint
from tests.e2b_endpoint.clock import GuestClock, RunningTime
from tests.leaks import until

LIMIT_S = 30.0


def states_of(mark: str) -> set[str]:
    """The kernel's letters for the processes on this host whose command line holds a mark."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            with suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.add((entry / "stat").read_text().rpartition(")")[2].split()[0])
    return found - {"Z", "X"}


async def test_a_sandbox_is_described_as_it_was_made(endpoint: E2BEndpoint) -> None:
    sandbox = await AsyncSandbox.create(timeout=120, metadata={"owner": "Änne & Co"}, allow_internet_access=False)
    info = await sandbox.get_info()
    assert (info.sandbox_id, info.template_id, info.metadata) == (sandbox.sandbox_id, "base", {"owner": "Änne & Co"})
    assert (info.state, info.allow_internet_access) == (SandboxState.RUNNING, False)
    assert 110 < (info.end_at - info.started_at).total_seconds() <= 120
    assert await sandbox.is_running()


async def test_a_killed_sandbox_is_gone(sandbox: AsyncSandbox) -> None:
    assert await sandbox.kill() is True
    assert await sandbox.kill() is False
    assert not await sandbox.is_running()
    with pytest.raises(SandboxNotRunningException):
        await sandbox.commands.run("true")
    for attempt in (sandbox.get_info(), sandbox.pause(), sandbox.set_timeout(10), sandbox.connect()):
        with pytest.raises(SandboxNotFoundException):
            await attempt


async def test_sandboxes_are_listed_by_metadata_and_state(endpoint: E2BEndpoint) -> None:
    mine = [await AsyncSandbox.create(metadata={"of": "me & you"}) for _ in range(3)]
    await AsyncSandbox.create(metadata={"of": "another"})
    await mine[0].pause()
    pages = AsyncSandbox.list(SandboxQuery(metadata={"of": "me & you"}), limit=2)
    found = await pages.next_items()
    assert len(found) == 2
    found += await pages.next_items()
    assert not pages.has_next
    assert {info.sandbox_id for info in found} == {sandbox.sandbox_id for sandbox in mine}
    paused = AsyncSandbox.list(SandboxQuery(state=[SandboxState.PAUSED]))
    assert [info.sandbox_id for info in await paused.next_items()] == [mine[0].sandbox_id]


async def test_a_pause_stops_every_process_and_a_resume_lets_them_go_on(sandbox: AsyncSandbox) -> None:
    mark = f"mark-{sandbox.sandbox_id}"
    handle = await sandbox.commands.run(
        f": {mark}; count=0; until [ -e go ]; do count=$((count+1)); sleep 0.01; done; echo $count counted",
        background=True,
        timeout=0,
    )
    await handle.disconnect()
    assert await sandbox.pause() is True
    assert states_of(mark) == {"T"}
    assert await sandbox.pause() is False
    assert (await sandbox.get_info()).state is SandboxState.PAUSED
    assert not await sandbox.is_running()
    await sandbox.connect(timeout=100)
    again = await sandbox.commands.connect(handle.pid, timeout=0)
    await sandbox.files.write("go", "")
    assert (await again.wait()).stdout.endswith(" counted\n")


async def test_a_pause_cuts_open_streams(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    handle = await sandbox.commands.run("sleep 1000", background=True, timeout=0)
    waiting = asyncio.create_task(handle.wait())
    await sandbox.pause()
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(SandboxNotRunningException):
            await waiting
    assert [request.name for request in endpoint.requests if request.cut] == ["POST /process.Process/Start"]
    with pytest.raises(SandboxNotRunningException):
        await sandbox.files.read("x")
    with pytest.raises(SandboxNotFoundException):
        await sandbox.set_timeout(10)


async def test_a_pause_of_the_file_system_alone_ends_the_processes(sandbox: AsyncSandbox) -> None:
    await sandbox.files.write("kept", "x")
    handle = await sandbox.commands.run("sleep 1000", background=True, timeout=0)
    await handle.disconnect()
    await sandbox.pause(mode="filesystem")
    await sandbox.connect()
    assert await sandbox.files.read("kept") == "x"
    assert (await sandbox.commands.run("pgrep -c sleep || true")).stdout == "0\n"


async def test_a_deadline_does_not_run_while_the_sandbox_is_paused() -> None:
    clock = GuestClock()
    deadline = asyncio.create_task(RunningTime(clock, 0.05).wait())
    clock.stop()
    assert not (await asyncio.wait([deadline], timeout=0.1))[0]
    clock.go_on()
    async with asyncio.timeout(LIMIT_S):
        await deadline


async def test_another_object_connects_by_id(sandbox: AsyncSandbox) -> None:
    await sandbox.files.write("x", "y")
    other = await AsyncSandbox.connect(sandbox.sandbox_id)
    assert await other.files.read("x") == "y"
    await other.pause()
    third = await AsyncSandbox.connect(sandbox.sandbox_id)
    assert await third.files.read("x") == "y"


async def test_a_connection_only_ever_extends_a_lease(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    before = (await sandbox.get_info()).end_at
    await sandbox.connect(timeout=5)
    assert (await sandbox.get_info()).end_at == before
    await sandbox.connect(timeout=1000)
    assert (await sandbox.get_info()).end_at > before
    endpoint.limit_length(100)
    try:
        await sandbox.set_timeout(1000)
        info = await sandbox.get_info()
        assert (info.end_at - info.started_at).total_seconds() == pytest.approx(100)
    finally:
        endpoint.limit_length(24 * 3600)


async def test_a_lease_ends_by_the_clock(endpoint: E2BEndpoint) -> None:
    sandbox = await AsyncSandbox.create(timeout=1)
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(SandboxNotRunningException):
            await sandbox.commands.run("sleep 1000", timeout=0)
    assert sandbox.sandbox_id not in endpoint.sandboxes


async def test_a_test_may_set_the_clock_forward(endpoint: E2BEndpoint) -> None:
    ends = await AsyncSandbox.create(timeout=100)
    pauses = await AsyncSandbox.create(timeout=100, lifecycle={"on_timeout": "pause"})
    lives = await AsyncSandbox.create(timeout=200)
    endpoint.advance(101)
    assert endpoint.sandboxes == {pauses.sandbox_id: "paused", lives.sandbox_id: "running"}
    assert not await ends.is_running()
    await pauses.connect()
    assert (await pauses.commands.run("echo back")).stdout == "back\n"


async def test_a_request_resumes_what_may_be_resumed_by_requests(endpoint: E2BEndpoint) -> None:
    sandbox = await AsyncSandbox.create(timeout=100, lifecycle={"on_timeout": "pause", "auto_resume": True})
    endpoint.expire(sandbox.sandbox_id)
    assert endpoint.sandboxes == {sandbox.sandbox_id: "paused"}
    assert (await sandbox.commands.run("echo back")).stdout == "back\n"
    info = await sandbox.get_info()
    assert (info.end_at - info.started_at).total_seconds() == pytest.approx(300, abs=1)


async def test_the_same_key_makes_the_same_sandbox(endpoint: E2BEndpoint) -> None:
    made = endpoint.created
    first, second = await asyncio.gather(*(AsyncSandbox.create(idempotency_key="one-and-only") for _ in range(2)))
    assert first.sandbox_id == second.sandbox_id
    assert endpoint.created == made + 1


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"timeout": 0}, SandboxException, "400"),
        ({"timeout": 90_000}, SandboxException, "24 hours"),
        ({"template": "unknown"}, SandboxException, "404"),
        ({"api_key": "wrong"}, AuthenticationException, "401"),
    ],
)
async def test_a_sandbox_that_cannot_be_made_is_refused(
    endpoint: E2BEndpoint, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await AsyncSandbox.create(**options)
    assert endpoint.sandboxes == {}


async def test_a_port_of_a_sandbox_is_reached_by_the_edge(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    route = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "8000"}
    async with httpx.AsyncClient(base_url=endpoint.url, headers=route) as client:
        closed = await client.get("/page")
        assert (closed.status_code, closed.json()["message"]) == (502, "The sandbox is running but port is not open")
        await sandbox.files.write("page", "hello")
        await sandbox.commands.run("python3 -m http.server 8000", background=True, timeout=0)
        async with asyncio.timeout(LIMIT_S):
            while (page := await client.get("/page")).status_code == 502:
                await asyncio.sleep(0.01)
    assert (page.status_code, page.text) == (200, "hello")


async def test_the_end_of_an_endpoint_is_the_end_of_its_sandboxes(session_dir: Path) -> None:
    with E2BEndpoint() as endpoint:
        there = E2B(api_key=endpoint.api_key, api_url=endpoint.url, sandbox_url=endpoint.url)
        running, paused = [await there.AsyncSandbox.create() for _ in range(2)]
        mark = f"mark-{running.sandbox_id}"
        for sandbox in (running, paused):
            await sandbox.commands.run(f": {mark}; sleep 1000; :", background=True, timeout=0)
        await paused.pause()
        assert states_of(mark)
    assert until(lambda: not states_of(mark), LIMIT_S)
