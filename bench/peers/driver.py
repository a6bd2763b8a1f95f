"""What a driver has in common: it reads the name of an operation a line, does it, and answers with milliseconds.

Run in a peer's own environment, as a script: nothing of ours can be imported there but what is beside this file.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from abc import ABC, abstractmethod

EDIT = "echo edit {turn} >>d0/f0.txt"
DIFF = "git diff HEAD"
COMMIT = "git add -A && git -c user.name=b -c user.email=b@example.com commit -qm x"


class Peer(ABC):
    """A sandbox package doing what a session does, as far as it can, by its own calls."""

    @abstractmethod
    async def start(self) -> None:
        """A new sandbox."""

    @abstractmethod
    async def run(self, command: str) -> None:
        """A command in the checkout, or in the sandbox's directory before there is one. Raises when it fails."""

    @abstractmethod
    async def stop(self) -> None:
        """The sandbox is gone."""

    def entered(self) -> None:
        """The checkout `repo` is there: commands run in it from now on."""


async def _ready(peer: Peer, url: str) -> None:
    await peer.start()
    await peer.run(f"git clone -q {url} repo && cd repo && git checkout -q -b fix")
    peer.entered()
    await peer.run("true")


async def _work(peer: Peer, turn: int) -> None:
    await peer.run(EDIT.format(turn=turn))
    await peer.run(DIFF)
    await peer.run(COMMIT)


async def serve(peer: Peer, url: str) -> None:
    """Until standard input ends: `start`, `true`, `work` and `stop`, in that order, as often as asked."""
    turns = itertools.count()
    while line := await asyncio.to_thread(sys.stdin.readline):
        began = time.perf_counter()
        match line.strip():
            case "start":
                await _ready(peer, url)
            case "true":
                await peer.run("true")
            case "work":
                await _work(peer, next(turns))
            case "stop":
                await peer.stop()
        print(f"ms {(time.perf_counter() - began) * 1000}", flush=True)
