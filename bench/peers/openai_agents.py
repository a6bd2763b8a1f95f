"""The OpenAI Agents SDK's UnixLocalSandboxClient: on Linux a directory and subprocesses, without any wall."""

from __future__ import annotations

import asyncio
import sys

from agents.sandbox.sandboxes.unix_local import UnixLocalSandboxClient
from driver import Peer, serve


class OpenAiAgents(Peer):
    def __init__(self) -> None:
        self._client = UnixLocalSandboxClient()

    async def start(self) -> None:
        self._session = await self._client.create()
        await self._session.start()
        self._prefix = ""

    async def run(self, command: str) -> None:
        answer = await self._session.exec(self._prefix + command)
        assert answer.ok(), answer.stderr

    def entered(self) -> None:
        self._prefix = "cd repo && "

    async def stop(self) -> None:
        await self._session.stop()
        await self._client.delete(self._session)


asyncio.run(serve(OpenAiAgents(), sys.argv[1]))
