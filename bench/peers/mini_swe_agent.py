"""mini-swe-agent's BubblewrapEnvironment: a bwrap process for each command, blocking."""

from __future__ import annotations

import asyncio
import sys

from driver import Peer, serve
from minisweagent.environments.extra.bubblewrap import BubblewrapEnvironment


class MiniSweAgent(Peer):
    async def start(self) -> None:
        self._environment = BubblewrapEnvironment()
        self._directory = str(self._environment.working_dir)

    async def run(self, command: str) -> None:
        answer = self._environment.execute({"command": command}, cwd=self._directory)
        assert answer["returncode"] == 0, answer

    def entered(self) -> None:
        self._directory += "/repo"

    async def stop(self) -> None:
        self._environment.cleanup()


asyncio.run(serve(MiniSweAgent(), sys.argv[1]))
