"""`ls`, `status`, `diff`, `events` and `doctor`: what changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from gitmachine.cli import finding
from gitmachine.cli.doing import say
from gitmachine.cli.exits import Exit
from gitmachine.cli.screen import answer, answer_json, table
from gitmachine.doctor import examine
from gitmachine.events import Event, Unknown
from gitmachine.git_machine import GitMachine
from gitmachine.observers import Observers
from gitmachine.sessions import Registry, SessionStore
from gitmachine.status import Status
from gitmachine.types import MachineState
from gitmachine.whereabouts import look
from gitmachine.wording import describe, short


async def ls(*, everything: bool, as_json: bool) -> None:
    registry = Registry()
    found = [await look(record) for record in registry.records()]
    shown = [item for item in found if everything or item.state != MachineState.STOPPED]
    corrupt = registry.corrupt()
    if as_json:
        sessions = [item.record.model_dump(mode="json") | {"state": item.state} for item in shown]
        answer_json({"sessions": sessions, "corrupt": corrupt})
        return
    rows = [
        (r.session, str(item.state), r.machine or "-", r.repository or "-", _age(r.created_at))
        for item in shown
        for r in (item.record,)
    ]
    if rows:
        table(rows, ("SESSION", "STATE", "MACHINE", "REPOSITORY", "AGE"))
    else:
        hidden = len(found) - len(shown)
        say("no session is live" + (f"; {hidden} ended, which --all shows" if hidden else ""))
    for problem in corrupt:
        say(f"left out: {problem}")


def _age(since: datetime) -> str:
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


async def status(name: str | None, *, as_json: bool) -> None:
    found = await finding.session(name)
    if not found.live:
        record = found.record
        if as_json:
            answer_json(record.model_dump(mode="json") | {"state": found.state})
        else:
            answer(f"session  {record.session}\nstate    {found.state}\nrepo     {record.repository or '-'}")
            say(f"it has no live machine: `gitmachine resume {record.session}` goes on with it")
        return
    gm = await GitMachine.reopen(found.record.id)
    try:
        seen = await gm.status()
    finally:
        await gm.detach()
    if as_json:
        answer_json(asdict(seen) | {"repository": found.record.repository})
    else:
        answer(_described(seen, found.record.repository))


def _described(seen: Status, repository: str | None) -> str:
    where = seen.branch or "no branch (detached HEAD)"
    lines = [
        f"session  {seen.session}",
        f"state    {seen.state} on {seen.machine}",
        f"repo     {repository or '-'}",
        f"head     {short(seen.head)}" + ("" if where == seen.session else f" on {where}"),
        f"pushed   {'not yet' if seen.unpushed else 'everything that is committed'}",
        f"changes  {len(seen.changes) or 'none'}",
    ]
    return "\n".join([*lines, *(f"  {change.status} {change.path}" for change in seen.changes)])


async def diff(name: str | None, base: str, paths: Sequence[str], *, to: str | None, stat: bool, as_json: bool) -> None:
    found = await finding.session(name)
    gm = await GitMachine.reopen(found.record.id)
    try:
        text = await gm.diff(base, paths or None, stat=stat, to=to)
    finally:
        await gm.detach()
    if as_json:
        answer_json({"session": gm.session, "base": base, "diff": text})
    elif text:
        answer(text.rstrip("\n"))


async def events(name: str | None, after: int, *, follow: bool, as_json: bool) -> None:
    store = await _store(name)
    async for event in _events(store, after, follow=follow):
        name = event.event if isinstance(event, Unknown) else event.name
        if as_json:
            click.echo(json.dumps({"seq": event.seq, "at": event.at.isoformat(), "event": name, "data": event.data()}))
        else:
            label = name.replace("_", " ")
            answer(f"{event.seq:>5}  {event.at:%H:%M:%S}  {label:<18} {describe(name, event.data())}")


async def _events(store: SessionStore, after: int, *, follow: bool) -> AsyncIterator[Event]:
    if follow:
        async for event in Observers(store.events, None).watch(after):
            yield event
        return
    for event in await asyncio.to_thread(store.events.read, after):
        yield event


async def _store(name: str | None) -> SessionStore:
    found = await finding.session(name)
    return Registry().store(found.record.id)


async def doctor(*, as_json: bool) -> int:
    checks = await examine()
    usable = all(check.ok for check in checks if check.needed)
    if as_json:
        answer_json({"usable": usable, "checks": [asdict(check) for check in checks]})
        return 0 if usable else Exit.NOT_USABLE
    for check in checks:
        mark = "ok" if check.ok else "FAILS" if check.needed else "note"
        answer(f"{mark:<6} {check.name:<16} {check.detail}")
        if check.remedy:
            answer(f"{'':<6} {'':<16} → {check.remedy}")
    answer("local machines work here" if usable else "local machines do not work here: mend the first that fails")
    return 0 if usable else Exit.NOT_USABLE
