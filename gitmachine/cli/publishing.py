"""`commit`, `push` and `pull`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict

from gitmachine.cli import finding
from gitmachine.cli.screen import QUIET_EVENTS, Screen, answer, answer_json
from gitmachine.git_machine import GitMachine


@asynccontextmanager
async def _opened(name: str | None, screen: Screen) -> AsyncIterator[GitMachine]:
    found = await finding.session(name)
    gm = await GitMachine.reopen(found.record.id, on_event=screen.event)
    try:
        yield gm
    finally:
        await gm.detach()


def _screen(as_json: bool) -> Screen:
    return Screen(silent=as_json, hide=QUIET_EVENTS)


async def commit(name: str | None, message: str | None, paths: Sequence[str], *, as_json: bool) -> None:
    screen = _screen(as_json)
    async with _opened(name, screen) as gm:
        sha = await gm.commit(message, paths=paths or None)
    if as_json:
        answer_json({"session": gm.session, "sha": sha})
    elif sha is None:
        screen.note("there was nothing to commit")
    else:
        answer(sha)


async def push(name: str | None, allow: Sequence[str], *, as_json: bool) -> None:
    screen = _screen(as_json)
    async with _opened(name, screen) as gm:
        outcome = await gm.push(allow=allow)
    if as_json:
        answer_json({"session": gm.session, **asdict(outcome)})
    elif outcome.where == "nothing":
        screen.note("the remote has everything that is committed")


async def pull(name: str | None, *, as_json: bool) -> None:
    screen = _screen(as_json)
    async with _opened(name, screen) as gm:
        outcome = await gm.pull()
    if as_json:
        answer_json({"session": gm.session, **asdict(outcome)})
    elif not outcome.updated:
        screen.note("there was nothing new")
