"""Every event of a session reaches those who listen: in order, once, and without gaps after a reconnect."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client.client import Client
from mcp_types import LoggingMessageNotification, ResourceUpdatedNotification

from tests.mcp.conftest import ERAS, LIMIT_S, ok, on_stdio, over_http, until
from tests.mcp.test_http import ALICE, caller
from tests.support.git_server import Repository

WHOLE_LIFE = [
    "started", "command_started", "checkpointed", "command_finished", "committed", "pushed", "paused", "resumed",
    "stopping", "stopped",
]  # fmt: skip


class Ear:
    """Keeps what a client is told."""

    def __init__(self) -> None:
        self.updated: list[str] = []
        self.logged: list[dict[str, Any]] = []

    async def __call__(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.updated.append(message.params.uri)
        if isinstance(message, LoggingMessageNotification) and message.params.logger == "gitmachine.events":
            self.logged.append(message.params.data)


async def events(client: Client, handle: str, after: int = 0) -> list[dict[str, Any]]:
    """The numbered events, by the resource, a few at a time."""
    found: list[dict[str, Any]] = []
    while True:
        (content,) = (
            await client.read_resource(f"gitmachine://sessions/{handle}/events?after={after}&limit=3")
        ).contents
        page = json.loads(getattr(content, "text", ""))
        found += page["events"]
        if page["next"] == after:
            return found
        after = page["next"]


async def live(client: Client) -> str:
    """A session from start to stop, with every kind of event. Gives its handle."""
    handle: str = (await ok(client, "start", branch="told"))["session"]
    await ok(client, "run", command="echo 1 > one.txt", session=handle)
    await ok(client, "commit", message="One", session=handle)
    await ok(client, "push", session=handle)
    await ok(client, "pause", session=handle)
    await ok(client, "resume", session=handle)
    await ok(client, "stop", session=handle)
    return handle


def names(found: list[dict[str, Any]]) -> list[str]:
    """The events that a whole life must have, in the order in which they came; checkpoints may be more."""
    return [event["type"] for event in found if event["type"] in WHOLE_LIFE]


def check_order(found: list[dict[str, Any]]) -> None:
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    told = [name for name in names(found) if name != "checkpointed"]
    assert told == [name for name in WHOLE_LIFE if name != "checkpointed"], told


@asynccontextmanager
async def connected(
    transport: str, era: str, environment: dict[str, str], project: Repository, ear: Ear
) -> AsyncIterator[Client]:
    if transport == "stdio":
        async with on_stdio(environment, "--repo", project.url, mode=era, message_handler=ear) as client:
            yield client
        return
    one_token = {**environment, "GITMACHINE_MCP_TOKEN": ALICE}
    async with over_http(one_token, "--repo", project.url) as server, caller(server, ALICE, era, ear) as client:
        yield client


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_an_old_client_is_sent_every_event_in_order_and_once(
    transport: str, environment: dict[str, str], project: Repository
) -> None:
    ear = Ear()
    async with connected(transport, "legacy", environment, project, ear) as client:
        with warnings.catch_warnings(action="ignore"):
            await client.set_logging_level("debug")
            await client.subscribe_resource("gitmachine://sessions")
        handle = await live(client)
        await until(lambda: bool(ear.logged) and ear.logged[-1]["type"] == "stopped")
        check_order(ear.logged)
        assert ear.logged == await events(client, handle)
        await until(lambda: "gitmachine://sessions" in ear.updated)


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_new_client_hears_that_there_are_events_and_reads_them_without_gaps(
    transport: str, environment: dict[str, str], project: Repository
) -> None:
    ear = Ear()
    async with connected(transport, "2026-07-28", environment, project, ear) as client:
        handle = (await ok(client, "start", branch="told"))["session"]
        uri = f"gitmachine://sessions/{handle}/events"
        found = await events(client, handle)
        async with asyncio.timeout(LIMIT_S), client.listen(resource_subscriptions=[uri]) as subscription:
            await ok(client, "run", command="echo 1 > one.txt")
            await ok(client, "commit", message="One")
            await ok(client, "push")
            await ok(client, "pause")
            await ok(client, "resume")
            await ok(client, "stop")
            async for event in subscription:
                assert getattr(event, "uri", None) == uri
                found += await events(client, handle, after=found[-1]["seq"])
                if found[-1]["type"] == "stopped":
                    break
        check_order(found)
        status = await ok(client, "status", session=handle, events_after=found[-3]["seq"])
        assert [event["seq"] for event in status["events"]] == [found[-2]["seq"], found[-1]["seq"]]


async def test_a_new_client_can_have_events_within_the_call_that_causes_them(
    environment: dict[str, str], project: Repository
) -> None:
    ear = Ear()
    settings: dict[str, Any] = {"mode": "2026-07-28", "message_handler": ear, "log_level": "info"}
    async with on_stdio(environment, "--repo", project.url, **settings) as client:
        await ok(client, "run", command="echo 1 > one.txt")
        await ok(client, "commit", message="One")
        assert "committed" in [event["type"] for event in ear.logged]
        assert "checkpointed" not in [event["type"] for event in ear.logged]
        await ok(client, "stop")
        assert ear.logged[-1]["type"] == "stopped"


@pytest.mark.parametrize("era", ERAS)
async def test_a_commit_by_another_client_is_told(era: str, environment: dict[str, str], project: Repository) -> None:
    """Each of the two has a server process of its own."""
    ear = Ear()
    async with (
        on_stdio(environment, "--repo", project.url, mode=era, message_handler=ear) as listener,
        on_stdio(environment) as worker,
    ):
        handle = (await ok(listener, "run", command="echo 1 > one.txt"))["session"]
        uri = f"gitmachine://sessions/{handle}/events"
        if era == "legacy":
            with warnings.catch_warnings(action="ignore"):
                await listener.subscribe_resource(uri)
            await ok(worker, "commit", message="From elsewhere", session=handle)
            await until(lambda: uri in ear.updated)
            await until(lambda: any(event["type"] == "committed" for event in ear.logged))
        else:
            async with asyncio.timeout(LIMIT_S), listener.listen(resource_subscriptions=[uri]) as subscription:
                await ok(worker, "commit", message="From elsewhere", session=handle)
                async for event in subscription:
                    assert getattr(event, "uri", None) == uri
                    if any(told["type"] == "committed" for told in await events(listener, handle)):
                        break
        await ok(listener, "stop")


async def test_the_numbers_go_on_when_a_session_does(environment: dict[str, str], project: Repository) -> None:
    async with on_stdio(environment, "--repo", project.url) as client:
        handle = (await ok(client, "run", command="echo 1 > one.txt"))["session"]
        before = await events(client, handle)
    async with on_stdio(environment, "--repo", project.url) as client:
        await ok(client, "commit", message="One", session=handle)
        await ok(client, "stop", session=handle)
        found = before + await events(client, handle, after=before[-1]["seq"])
        assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
        assert [event["type"] for event in found][-1] == "stopped"
        assert found == await events(client, handle)
