"""The event log: a million appended, and what it costs to read from a number."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.measure import FLOOR, OURS, Effort, Plan, Row, rounds
from bench.registry import Place
from gitmachine.event_log import EventLog
from gitmachine.events import Checkpointed

EVENTS = 1_000_000
ANSWER = 100
AIM_APPEND, AIM_BATCH_READ = 3.0, 3.0
_BATCH = 1_000


async def events(place: Place) -> list[Row]:
    """Appends until there are a million; the rows compare batches taken along the way, so a log that slows as it
    grows shows. An append is one that other programs see at once, so its floor opens, writes and closes as well."""
    log, plain = EventLog(place.below("log")), place.work / "plain.jsonl"
    log.append(_event())
    line = (place.work / "log" / "events.jsonl").read_bytes()
    rows = [await _appends(log, plain, line, place.effort(20.0), 0)]
    rows.append(await _reads(log, place))
    began, before = time.perf_counter(), log.count()
    _fill(log, EVENTS - before)
    each = (time.perf_counter() - began) * 1e6 / (EVENTS - before)
    rows.append(Row("event log: an append, over a million", "", "value", each, unit="µs", kind="fact"))
    rows.append(await _appends(log, plain, line, place.effort(20.0), EVENTS))
    rows.append(await _reads(log, place))
    return rows


def _event() -> Checkpointed:
    return Checkpointed(sha="0" * 40, tree="1" * 40)


def _fill(log: EventLog, count: int) -> None:
    for _ in range(count):
        log.append(_event())


async def _appends(log: EventLog, plain: Path, line: bytes, effort: Effort, there: int) -> Row:
    line = (
        b'{"seq":1000000,"at":"2026-01-01T00:00:00.000000Z","event":"checkpointed","data":{"sha":"%s","tree":"%s"}}\n'
    )
    line %= (b"0" * 40, b"1" * 40)

    async def ours() -> None:
        _fill(log, _BATCH)

    async def floor() -> None:
        for _ in range(_BATCH):
            file = os.open(plain, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(file, line)
            os.close(file)

    taken = await rounds({OURS: ours, FLOOR: floor}, effort)
    plan = Plan(
        f"event log: {_BATCH:,} appends to {there:,}", "open, write, close, for each", AIM_APPEND,
        series="event log: append, events there", size=max(there, _BATCH),
    )  # fmt: skip
    return taken.ratio(plan)


async def _reads(log: EventLog, place: Place) -> Row:
    """The first hundred against the last hundred of however many there are: O(answer) is the same for both."""
    count = log.count()

    async def last() -> None:
        assert len(log.read(count - ANSWER)) == ANSWER

    async def first() -> None:
        assert len(log.read(0, ANSWER)) == ANSWER

    taken = await rounds({OURS: last, FLOOR: first}, Effort(samples=100, fewest=100))
    plan = Plan(
        f"event log: the last {ANSWER} of {count:,}", f"the first {ANSWER} of them", 1.1,
        series="event log: read 100, events there", size=count,
    )  # fmt: skip
    return taken.ratio(plan)
