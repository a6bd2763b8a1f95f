"""Ten programs at once on one vault, and ten on one session: nothing is corrupt, nothing is lost, nobody waits long."""

from __future__ import annotations

import asyncio
import json

import pytest

from gitmachine import GitMachine, LocalMachine
from tests.crash.faults import Place
from tests.crash.series import place
from tests.crash.trial import LIMIT_S, checkpointed, fsck, program

PROGRAMS = 10
COMMANDS = 3


async def answers(here: Place, verb: str, sessions: list[str]) -> list[dict[str, object]]:
    """Runs a program for each session, all at once; what each said at its end."""

    async def one(number: int, session: str) -> dict[str, object]:
        async with program(here, verb, session, str(number), str(COMMANDS)) as process:
            out, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            answer: dict[str, object] = json.loads(out.decode().splitlines()[-1])
            return answer

    async with asyncio.timeout(LIMIT_S):
        return await asyncio.gather(*(one(number, session) for number, session in enumerate(sessions)))


@pytest.mark.timeout(200)
def test_ten_programs_with_a_session_each_share_a_vault() -> None:
    sessions = [f"parallel-{number}" for number in range(PROGRAMS)]
    with place() as here:
        said = asyncio.run(answers(here, "own", sessions))
        for number, session in enumerate(sessions):
            assert written(number) <= tree_of(here, session).keys()
        assert set(sessions) <= here.repository.heads().keys()
        assert fsck(here) == []
    assert [answer["missing"] for answer in said] == [[]] * PROGRAMS
    assert max(float(str(answer["longest_s"])) for answer in said) < LIMIT_S / 2


@pytest.mark.timeout(200)
def test_ten_programs_drive_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(here: Place) -> list[dict[str, object]]:
        gm = GitMachine(LocalMachine(), here.repository.url, here.server.token, session="shared")
        await gm.start()
        said = await answers(here, "share", ["shared"] * PROGRAMS)
        events = await gm.events()
        assert [event.name for event in events].count("command_finished") == PROGRAMS * COMMANDS
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert set().union(*map(written, range(PROGRAMS))) <= tree_of(here, "shared").keys()
        await gm.stop()
        return said

    with place() as here:
        monkeypatch.setenv("GITMACHINE_HOME", str(here.state))
        said = asyncio.run(run(here))
        assert fsck(here) == []
    # What each had been told was done was in the vault at that moment.
    assert [answer["missing"] for answer in said] == [[]] * PROGRAMS
    assert max(float(str(answer["longest_s"])) for answer in said) < LIMIT_S / 2


def written(number: int) -> set[str]:
    """The files that program `number` writes."""
    return {f"p{number}-{n}.txt" for n in range(COMMANDS)}


def tree_of(here: Place, session: str) -> dict[str, str]:
    tree = checkpointed(here, session)
    assert tree is not None
    return tree
