"""Everything that a client sends is kept, so that a secret which was sent is found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from e2b import AsyncSandbox

from tests.e2b_endpoint import E2BEndpoint, Reset, at, holding

SECRET = "s3cr3t-t0ken"


async def in_a_command(sandbox: AsyncSandbox) -> None:
    await sandbox.commands.run(f": {SECRET}")


async def in_an_environment(sandbox: AsyncSandbox) -> None:
    await sandbox.commands.run("true", envs={"TOKEN": SECRET})


async def in_a_file(sandbox: AsyncSandbox) -> None:
    await sandbox.files.write("x", f"a{SECRET}b".encode())


async def in_a_path(sandbox: AsyncSandbox) -> None:
    await sandbox.files.exists(f"dir/{SECRET}")


async def in_a_query(sandbox: AsyncSandbox) -> None:
    await sandbox.files.write(f"{SECRET}/ü", b"x", use_octet_stream=True)


async def in_metadata(sandbox: AsyncSandbox) -> None:
    await AsyncSandbox.create(metadata={"token": SECRET})


async def in_a_header(sandbox: AsyncSandbox) -> None:
    await AsyncSandbox.create(api_headers={"Authorization": f"Bearer {SECRET}"})


@pytest.mark.parametrize(
    "send", [in_a_command, in_an_environment, in_a_file, in_a_path, in_a_query, in_metadata, in_a_header]
)
async def test_a_secret_is_found_wherever_it_was_sent(
    endpoint: E2BEndpoint, sandbox: AsyncSandbox, send: Callable[[AsyncSandbox], Awaitable[None]]
) -> None:
    await sandbox.commands.run("echo nothing secret")
    assert holding(endpoint.requests, SECRET) == []
    await send(sandbox)
    assert len(holding(endpoint.requests, SECRET)) == 1


async def test_a_request_is_kept_that_got_no_answer(endpoint: E2BEndpoint, sandbox: AsyncSandbox) -> None:
    endpoint.inject(at(0, Reset("before")))
    await asyncio.gather(sandbox.commands.run(f": {SECRET}"), return_exceptions=True)
    (request,) = holding(endpoint.requests, SECRET)
    assert (request.index, request.status, request.sandbox_id) == (0, None, sandbox.sandbox_id)
