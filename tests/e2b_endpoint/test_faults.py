"""Each fault as the unmodified SDK shows it, and what has happened all the same.

The table in the recorded facts on the SDK 2.63 says what surfaces; these are the rows that a machine has to tell apart.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest
from connectrpc.errors import ConnectError
from e2b import (
    AsyncSandbox,
    NotEnoughSpaceException,
    RateLimitException,
    SandboxException,
    SandboxNotFoundException,
    SandboxNotRunningException,
    SandboxUnreachableException,
    TimeoutException,
)
from e2b.exceptions import ServiceBusyException

from tests.e2b_endpoint import Answer, Delay, Drop, E2BEndpoint, Expire, Fault, Reset, Stall, Truncate, at, nothing, on

LIMIT_S = 30.0
CREATE = ("POST", "/v2/sandboxes")
START = ("POST", "/process.Process/Start")


@pytest.mark.parametrize(
    ("fault", "error", "attempts"),
    [
        (Answer(429, headers={"Retry-After": "0"}), RateLimitException, 4),
        (Answer(503, headers={"Retry-After": "0"}), ServiceBusyException, 4),
        (Answer(502, headers={"Should-Retry": "false"}), SandboxException, 1),
        (Answer(500), SandboxException, 1),
        (Answer(503, body=b"<html>", headers={"Retry-After": "0"}), json.JSONDecodeError, 4),
        (Answer(500, body=b'{"message": "no code"}'), KeyError, 1),
    ],
)
async def test_an_answer_of_the_control_plane_s_surfaces(
    endpoint: E2BEndpoint, fault: Answer, error: type[Exception], attempts: int
) -> None:
    endpoint.inject(on(*CREATE, fault, times=9))
    with pytest.raises(error):
        await AsyncSandbox.create()
    assert [request.name for request in endpoint.requests] == ["POST /v2/sandboxes"] * attempts
    assert endpoint.sandboxes == {}


async def test_the_sdk_tries_again_when_it_is_told_to_slow_down(endpoint: E2BEndpoint) -> None:
    endpoint.inject(on(*CREATE, Answer(429, headers={"Retry-After": "0"})))
    await AsyncSandbox.create()
    assert [request.status for request in endpoint.requests] == [429, 201]


async def test_a_reset_before_the_work_leaves_nothing(endpoint: E2BEndpoint) -> None:
    endpoint.inject(on(*CREATE, Reset("before")))
    with pytest.raises((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)):
        await AsyncSandbox.create()
    assert (len(endpoint.requests), endpoint.sandboxes) == (1, {})


async def test_a_lost_answer_leaves_a_sandbox_that_its_key_finds_again(endpoint: E2BEndpoint) -> None:
    endpoint.inject(on(*CREATE, Reset("after")))
    with pytest.raises((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)):
        await AsyncSandbox.create(idempotency_key="lost-answer")
    (lost,) = endpoint.sandboxes
    found = await AsyncSandbox.create(idempotency_key="lost-answer")
    assert found.sandbox_id == lost


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Answer(429), RateLimitException),
        (Answer(500), SandboxException),
        (Answer(502), SandboxUnreachableException),
        (Answer(504), TimeoutException),
        (Reset("before"), ConnectError),
        (Drop(0), ConnectError),
        (Drop(0, "close"), SandboxUnreachableException),
        (Truncate(0), Exception),
        (Expire(), SandboxNotRunningException),
    ],
)
async def test_a_fault_of_a_command_surfaces(
    endpoint: E2BEndpoint, sandbox: AsyncSandbox, fault: Fault, error: type[Exception]
) -> None:
    endpoint.inject(on(*START, fault))
    with pytest.raises(error):
        await sandbox.commands.run("echo x")


async def test_a_lost_stream_has_run_its_command(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    endpoint.inject(on(*START, Drop(0)))
    with pytest.raises(ConnectError):
        await sandbox.commands.run("touch ran")
    assert [request.name for request in endpoint.requests] == ["POST /process.Process/Start", "GET /health"]
    await sandbox.commands.run("until [ -e ran ]; do sleep 0.01; done", timeout=LIMIT_S)


async def test_a_stream_drops_in_the_middle_and_its_command_goes_on(
    endpoint: E2BEndpoint, sandbox: AsyncSandbox
) -> None:
    wait = "until [ -e {} ]; do sleep 0.01; done"
    heard = asyncio.Event()
    endpoint.inject(on(*START, Drop(1000)))
    handle = await sandbox.commands.run(
        f"echo first; {wait.format('go')}; seq 10000; {wait.format('end')}; echo last",
        background=True,
        timeout=0,
        on_stdout=lambda _: heard.set(),
    )
    reading = asyncio.create_task(handle.wait())
    async with asyncio.timeout(LIMIT_S):
        await heard.wait()
        await sandbox.files.write("go", "")
        with pytest.raises(ConnectError):
            await reading
    assert handle.stdout == "first\n"
    again = await sandbox.commands.connect(handle.pid, timeout=0)
    await sandbox.files.write("end", "")
    assert (await again.wait()).stdout.endswith("last\n")


async def test_a_stream_that_ends_early_and_cleanly_has_no_exit_code(
    endpoint: E2BEndpoint, sandbox: AsyncSandbox
) -> None:
    endpoint.inject(on(*START, Truncate(200)))
    with pytest.raises(Exception, match="ended without an end event"):
        await sandbox.commands.run("seq 1000")


async def test_silence_runs_into_the_client_s_own_limit(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    endpoint.inject(lambda request: Stall())
    with pytest.raises(TimeoutException):
        await sandbox.commands.run("true", request_timeout=0.2)
    with pytest.raises(httpx.TimeoutException):
        await sandbox.get_info(request_timeout=0.1)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Answer(507), NotEnoughSpaceException),
        (Answer(429), RateLimitException),
        (Reset("before"), (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)),
        (Expire(), SandboxNotRunningException),
    ],
)
async def test_a_fault_of_a_file_surfaces(
    endpoint: E2BEndpoint, sandbox: AsyncSandbox, fault: Fault, error: type[Exception]
) -> None:
    endpoint.inject(on("POST", "/files", fault))
    with pytest.raises(error):
        await sandbox.files.write("x", "y")


async def test_a_download_drops_in_the_middle(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    await sandbox.commands.run("head -c 1000000 /dev/urandom > big")
    endpoint.inject(on("GET", "/files", Drop(100_000)))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await sandbox.files.read("big", format="bytes")
    assert len(await sandbox.files.read("big", format="bytes")) == 1_000_000


async def test_a_sandbox_that_expired_is_not_found(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    endpoint.inject(on("POST", "/timeout", Expire()))
    with pytest.raises(SandboxNotFoundException):
        await sandbox.set_timeout(100)


async def test_a_slow_start_and_latency_are_waited_for(endpoint: E2BEndpoint) -> None:
    endpoint.delay(0.05)
    endpoint.inject(on(*CREATE, Delay(0.1)))
    loop = asyncio.get_running_loop()
    began = loop.time()
    sandbox = await AsyncSandbox.create()
    created = loop.time()
    await sandbox.commands.run("true")
    assert created - began >= 0.15
    assert loop.time() - created >= 0.05


async def small_session() -> None:
    """Five requests."""
    sandbox = await AsyncSandbox.create(timeout=60)
    await sandbox.files.write("x", "y")
    assert (await sandbox.commands.run("cat x")).stdout == "y"
    assert await sandbox.files.read("x") == "y"
    await sandbox.kill()


@pytest.mark.parametrize("fault", [Answer(500), Reset("before"), Reset("after"), Drop(1)], ids=lambda fault: str(fault))
async def test_a_fault_can_hit_every_request_of_a_session_in_turn(endpoint: E2BEndpoint, fault: Fault) -> None:
    endpoint.inject(nothing)
    await small_session()
    names = [request.name for request in endpoint.requests]
    hit = [await _struck(endpoint, small_session, index, fault) for index in range(len(names))]
    answered = [index for index, name in enumerate(names) if not name.startswith("DELETE") or fault != Drop(1)]
    assert [index for index, failed in enumerate(hit) if failed] == answered  # a 204 has no byte to lose


async def _struck(endpoint: E2BEndpoint, session: Callable[[], Awaitable[None]], index: int, fault: Fault) -> bool:
    endpoint.forget()
    endpoint.inject(at(index, fault))
    try:
        await session()
    except (SandboxException, httpx.TransportError, ConnectError):
        return True
    finally:
        for sandbox_id in endpoint.sandboxes:
            endpoint.kill(sandbox_id)
    return False
