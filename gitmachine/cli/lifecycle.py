"""`start`, `pause`, `resume` and `stop`."""

from __future__ import annotations

from typing import Any

from gitmachine.assembling import provider_of
from gitmachine.cli import finding
from gitmachine.cli.entering import Entered, enter
from gitmachine.cli.entry import Entry
from gitmachine.cli.screen import QUIET_EVENTS, Screen, answer, answer_json
from gitmachine.errors import ConfigurationError
from gitmachine.git_machine import GitMachine
from gitmachine.machine import Machine
from gitmachine.providers import provider
from gitmachine.sessions import Registry
from gitmachine.types import MachineState
from gitmachine.whereabouts import Found, look


async def start(entry: Entry, *, as_json: bool) -> None:
    screen = Screen(silent=as_json, hide=QUIET_EVENTS)
    with screen.working("starting the session"):
        entered = await enter(entry, screen.event, keep_env=True)
    if entered.before is not None:
        screen.note(f"session {entered.gm.session} was live already ({entered.before})")
    await entered.gm.detach()
    _say(entered, as_json=as_json)


async def pause(name: str | None, *, as_json: bool) -> None:
    screen = Screen(silent=as_json)
    gm = await _reopen(await finding.session(name), screen)
    if gm.state is MachineState.PAUSED:
        screen.note(f"session {gm.session} is paused already")
    else:
        await gm.pause()
    await gm.detach()
    _answer_state(gm, as_json=as_json)


async def resume(name: str | None, machine: str | None, *, replay: bool, as_json: bool) -> None:
    """Also takes up a session whose program died, or whose machine did."""
    screen = Screen(silent=as_json)
    found = await (_only_waiting() if name is None else finding.session(name))
    wanted = provider_of(found.record) if machine is None else provider(machine)
    if found.live:
        _refuse_a_move(found, wanted)
        gm = await _reopen(found, screen)
        if gm.state is MachineState.PAUSED:
            await gm.resume()
        else:
            screen.note(f"session {gm.session} is running already; nothing had to be done")
        await gm.detach()
        _answer_state(gm, as_json=as_json)
        return
    record = found.record
    screen.note(f"the machine of session {record.session} has ended: its work goes on in a new one")
    with screen.working("starting a new machine"):
        gm = await GitMachine.reopen(record.id, machine=wanted(), replay=replay, on_event=screen.event)
    await gm.detach()
    _say(Entered(gm, None), as_json=as_json)


async def stop(name: str | None, message: str | None, *, push: bool, as_json: bool) -> None:
    screen = Screen(silent=as_json, hide=QUIET_EVENTS)
    gm = await _reopen(await finding.session(name), screen)
    if message is not None:
        await gm.commit(message)
    with screen.working("ending the session"):
        outcome = await gm.stop(push=push)
    if as_json:
        keys = ("where", "sha", "ref", "reason")
        answer_json({"session": gm.session, "state": str(gm.state), **{key: getattr(outcome, key) for key in keys}})


async def _only_waiting() -> Found:
    """The one session that `resume` without a name can mean: live or lost."""
    records = Registry().records()
    waiting = [found for record in records if (found := await look(record)).state != MachineState.STOPPED]
    return waiting[0] if len(waiting) == 1 else await finding.session(None)


def _refuse_a_move(found: Found, wanted: type[Machine]) -> None:
    if wanted is not provider_of(found.record):
        name = found.record.session
        raise ConfigurationError(
            f"session {name!r} is {found.state} on {found.record.machine}: `gitmachine stop {name}` makes its work "
            "safe and ends that machine, then resume it on another"
        )


async def _reopen(found: Found, screen: Screen) -> GitMachine:
    return await GitMachine.reopen(found.record.id, on_event=screen.event)


def _say(entered: Entered, *, as_json: bool) -> None:
    gm = entered.gm
    if as_json:
        answer_json(_state(gm) | {"repository": gm.record.repository, "reused": entered.before is not None})
    else:
        answer(gm.session)


def _answer_state(gm: GitMachine, *, as_json: bool) -> None:
    if as_json:
        answer_json(_state(gm))


def _state(gm: GitMachine) -> dict[str, Any]:
    return {"session": gm.session, "machine": gm.id, "state": str(gm.state)}
