"""Which refused connections of a machine the session has not told of yet."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gitmachine.machine import Machine
from gitmachine.records import Record
from gitmachine.types import Refusal

ALLOW_LIST = "allow-list"


class _Told(Record):
    """How far the refusals of a machine have been told."""

    machine: str = ""
    cursor: int = 0


class Refusals:
    """Those of one session. A cursor on disk, so that each is told once, whatever program asks."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "refusals.json"

    async def fresh(self, machine: Machine) -> list[Refusal]:
        """What was refused since this was last asked. Expects the capture lock."""
        told = await asyncio.to_thread(self._load)
        cursor = told.cursor if told.machine == machine.id else 0
        found, after = await machine.network_refusals(cursor)
        if after != told.cursor or told.machine != machine.id:
            await asyncio.to_thread(_Told(machine=machine.id or "", cursor=after).save, self._path)
        return found

    def _load(self) -> _Told:
        try:
            return _Told.load(self._path)
        except FileNotFoundError:
            return _Told()
