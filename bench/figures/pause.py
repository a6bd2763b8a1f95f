"""Pause and resume of a machine whose processes hold memory, against the freezer alone."""

from __future__ import annotations

import asyncio
import time

from bench.measure import Contender, Effort, Plan, Row, rounds
from bench.registry import Place
from gitmachine import GitMachine, LocalMachine
from gitmachine.machines.local import freezer
from gitmachine.machines.local.limits import Limits

PROCESSES, MIB_EACH = 100, 10
AIM = 2.0
_HOLD = f"""
import hashlib, os, sys, time
block = bytearray(os.urandom(1024 * 1024)) * {MIB_EACH}
digest = hashlib.sha256(block).hexdigest()
open(f"/tmp/held-{{sys.argv[1]}}", "w").write("x")
while not os.path.exists("/tmp/check"):
    time.sleep(0.02)
print(hashlib.sha256(block).hexdigest() == digest, file=open(f"/tmp/checking-{{sys.argv[1]}}", "w"))
os.rename(f"/tmp/checking-{{sys.argv[1]}}", f"/tmp/checked-{{sys.argv[1]}}")
"""


async def pause(place: Place) -> list[Row]:
    """The machine's pause and resume, the session's, and the freezer's own write and wait, on the same machine."""
    limits = Limits(memory_bytes=4 * 1024**3)
    gm = GitMachine(LocalMachine(limits=limits), str(place.repositories.of(50)), session="held", checkpoint="lifecycle")
    async with gm:
        await gm.write_file("/tmp/hold.py", _HOLD, outside=True)
        await gm.run(f"for i in $(seq {PROCESSES}); do setsid python3 /tmp/hold.py $i >/dev/null 2>&1 & done")
        await _until(gm, f"ls /tmp | grep -c held- | grep -qx {PROCESSES}")
        held = (await gm.run("cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Rss/ {s+=$2} END {print s}'")).stdout
        rows = await _pausing(gm, place.effort(20.0))
        await gm.run("touch /tmp/check")
        await _until(gm, f"ls /tmp | grep -c checked- | grep -qx {PROCESSES}")
        whole = int((await gm.run("cat /tmp/checked-* | grep -o True | wc -l")).stdout)
    memory = Row(
        "memory that the processes held, by their own account", f"{PROCESSES} processes", "value",
        int(held) * 1024 / 1e6, unit="MB", kind="fact",
    )  # fmt: skip
    kept = Row(
        "processes whose memory was whole after the last resume", f"of {PROCESSES}", "value", whole, aim=PROCESSES,
        at_least=True, unit="", kind="fact",
    )  # fmt: skip
    return [*rows, memory, kept]


async def _pausing(gm: GitMachine, effort: Effort) -> list[Row]:
    machine = gm.machine
    assert isinstance(machine, LocalMachine)
    record = machine._record
    assert record is not None
    live = record.init.live()
    assert live is not None
    bare = freezer.choose(record.groups, live.pid)

    async def running() -> None:
        if bare.is_frozen():
            await gm.resume()

    async def frozen() -> None:
        if not bare.is_frozen():
            await gm.pause()

    freezing = await rounds(
        {
            "machine": Contender(machine.pause, running),
            "session": Contender(gm.pause, running),
            "floor": Contender(bare.freeze, running),
        },
        effort,
    )
    thawing = await rounds(
        {
            "machine": Contender(machine.resume, frozen),
            "session": Contender(gm.resume, frozen),
            "floor": Contender(bare.thaw, frozen),
        },
        effort,
    )
    await running()
    what = f"{PROCESSES} processes, 1 GiB"
    against = f"the freezer alone ({bare.name})"
    return [
        freezing.ratio(Plan(f"the machine's pause, {what}", against, AIM), "machine"),
        thawing.ratio(Plan(f"the machine's resume, {what}", against, AIM), "machine"),
        freezing.extra(Plan(f"the session's pause: commit, record, event, {what}", against), "session"),
        thawing.extra(Plan(f"the session's resume: record, event, {what}", against), "session"),
    ]


async def _until(gm: GitMachine, question: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not (await gm.run(question)).ok:
        assert time.monotonic() < deadline, question
        await asyncio.sleep(0.2)
