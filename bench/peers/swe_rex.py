"""SWE-ReX's LocalDeployment: one held shell on this host, without any wall, its output read by a prompt."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile

from driver import Peer, serve
from swerex.deployment.local import LocalDeployment
from swerex.runtime.abstract import BashAction, CreateBashSessionRequest


class SweRex(Peer):
    async def start(self) -> None:
        self._deployment = LocalDeployment()
        await self._deployment.start()
        await self._deployment.runtime.create_session(CreateBashSessionRequest())
        self._directory = tempfile.mkdtemp()
        await self.run(f"cd {self._directory}")

    async def run(self, command: str) -> None:
        await self._deployment.runtime.run_in_session(BashAction(command=command, check="raise"))

    async def stop(self) -> None:
        await self._deployment.stop()
        shutil.rmtree(self._directory)


asyncio.run(serve(SweRex(), sys.argv[1]))
