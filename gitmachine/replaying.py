"""What a program did to a new machine when the session began, done again in a later one.

The receipt is in the session's history: the commands that ran during `on_start`. What they changed outside of the
checkout, an installed package say, went with the machine and is made again; what they change in the checkout is put
back, since the recovered files are newer.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from gitmachine import events as ev
from gitmachine.git.chain import Chain, HistoryEntry
from gitmachine.rewinding import rewind, standing
from gitmachine.session import Session
from gitmachine.types import ExecutionResult, RunOptions

ON_START = "on_start"
REPLAY = "replay"

_BEGINNINGS = ("start", "recover", "fork")
_NAMED = 100

Run = Callable[[str, RunOptions], Awaitable[ExecutionResult]]


async def receipt(chain: Chain) -> list[HistoryEntry]:
    """The commands of the last `on_start`, in their order. Empty when none was run."""
    found: list[HistoryEntry] = []
    for entry in reversed(await chain.entries()):
        if entry.stage == ON_START and entry.kind == "command":
            found.insert(0, entry)
        if found and entry.kind in _BEGINNINGS:
            break
    return found


async def replay(session: Session, run: Run) -> None:
    """Runs the receipt again and tells what came of it. A command that fails is told and does not stop the others.

    One whose text held a secret cannot be run; one that had variables of its own runs without them.
    """
    known = await receipt(session.branch.chain)
    if not known:
        return
    async with session.alone("replay"), session.machine.quiet():
        before = await standing(session, await session.capture())
    session.stage = REPLAY
    try:
        ran = [(entry, await run(entry.command, RunOptions(cwd=entry.cwd or None))) for entry in known if entry.whole]
    finally:
        session.stage = ""
    await session.tell(
        ev.Replayed(
            commands=[_shown(entry, result) for entry, result in ran],
            skipped=[entry.number for entry in known if not entry.whole],
            put_back=await _put_back(session, before),
        )
    )


def _shown(entry: HistoryEntry, result: ExecutionResult) -> dict[str, object]:
    without = {"without": list(entry.env)} if entry.env else {}
    return {"number": entry.number, "exit_code": result.exit_code, "was": entry.exit_code, **without}


async def _put_back(session: Session, before: HistoryEntry) -> list[str]:
    async with session.alone("replay"), session.machine.quiet():
        after = await standing(session, await session.capture())
        assert after.tree is not None
        changes = await session.branch.vault.changes(before.tree, after.tree)
        if changes:
            await rewind(session, before.number)
    return [os.fsencode(change.path).decode("utf-8", "backslashreplace") for change in changes[:_NAMED]]
