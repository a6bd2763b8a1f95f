"""What nobody holds any more is found, made safe, and only then removed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from gitmachine import GitMachine, GitMachineError, LocalMachine, MachineState, Registry
from gitmachine import settings as environment
from gitmachine.collecting import Act, Done, Finding, collect, collect_obvious, examine
from gitmachine.leases import LEASE, last_held, lease_until
from gitmachine.machines.local.record import MachineRecord
from gitmachine.records import CorruptRecord, NewerRecord, Record, Upgrade
from gitmachine.sessions import SessionRecord
from gitmachine.settings import Settings
from tests import leaks
from tests.support.git_server import TOKEN, GitServer, Repository, git, git_server

__all__ = ["git_server"]

Opening = Callable[[], Awaitable[GitMachine]]


@pytest.fixture
def settings(state_dir: Path) -> Settings:
    del state_dir
    return environment.load()


@pytest.fixture
def project(git_server: GitServer) -> Repository:
    return git_server.repository()


@pytest.fixture
async def opened(project: Repository, settings: Settings) -> AsyncIterator[Opening]:
    machines = []

    async def start() -> GitMachine:
        machine = LocalMachine()
        machines.append(machine)
        gm = GitMachine(machine, project.url, TOKEN, session="fix-1")
        await gm.start()
        leaks.wait_for_builders(settings.state_dir)
        return gm

    yield start
    for machine in machines:
        with suppress(GitMachineError):
            await machine.stop()


async def gc(settings: Settings, older_than: timedelta | None = None) -> list[Done]:
    return [done async for done in collect(settings, await examine(settings, older_than))]


def kill(settings: Settings, machine: str | None) -> None:
    record = MachineRecord.load(settings.machines / str(machine) / "machine.json")
    os.kill(record.init.pid, signal.SIGKILL)
    assert leaks.until(lambda: record.init.live() is None, 10)


def age(path: Path, by: timedelta) -> None:
    """Makes a file or directory, and what is in it, look as if it had not been touched for so long."""
    then = time.time() - by.total_seconds()
    for entry in (*path.rglob("*"), path):
        os.utime(entry, (then, then), follow_symlinks=False)


def in_vault(settings: Settings, name: str, ref: str, vault: str = "*") -> str:
    store = next(settings.vaults.glob(f"{vault}/sessions.git"))
    return git("--git-dir", str(store), "show", f"{ref}:{name}", cwd=store)


async def test_there_is_nothing_to_collect_of_a_session_in_use(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    assert await examine(settings) == ()
    await gm.pause()
    assert await examine(settings) == ()
    await gm.stop()
    assert await examine(settings) == ()


async def test_a_dead_machine_is_removed_once_its_files_are_in_the_vault(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    await gm.machine.execute(f"echo late > {gm.path}/late.txt")
    kill(settings, gm.id)
    (finding,) = await examine(settings)
    assert (finding.kind, finding.name, finding.act) == ("machine", gm.id, Act.RESCUE)
    assert finding.frees_bytes > 0
    assert finding.path.is_dir()
    (done,) = await gc(settings)
    assert done.done, done
    assert not finding.path.exists()
    assert in_vault(settings, "late.txt", f"refs/gitmachine/sessions/{gm.record.id}/files") == "late"
    assert Registry().find("fix-1").state is MachineState.STOPPED
    assert await examine(settings) == ()


async def test_a_session_goes_on_after_its_dead_machine_was_collected(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    await gm.machine.execute(f"echo late > {gm.path}/late.txt")
    kill(settings, gm.id)
    await gc(settings)
    again = await opened()
    assert (await again.run("cat late.txt")).stdout == "late\n"


async def test_a_dead_machine_whose_work_cannot_be_made_safe_is_kept(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    kill(settings, gm.id)
    vault = next(settings.vaults.iterdir())
    vault.rename(vault.with_name("elsewhere"))
    vault.write_text("not a directory")
    (done,) = await gc(settings)
    assert not done.done
    assert (settings.machines / str(gm.id)).is_dir()
    vault.unlink()
    vault.with_name("elsewhere").rename(vault)
    assert [done.done for done in await gc(settings)] == [True]


async def test_what_an_earlier_machine_had_does_not_replace_the_sessions_checkpoint(
    opened: Opening, settings: Settings
) -> None:
    first = await opened()
    await first.machine.execute(f"echo old > {first.path}/which.txt")
    kill(settings, first.id)
    second = await opened()
    await second.run("echo new > which.txt")
    left = [finding for finding in await examine(settings) if finding.name == first.id]
    for done in [done async for done in collect(settings, left)]:
        assert done.done, done
        ref = f"refs/gitmachine/sessions/{first.id}/files"
        assert in_vault(settings, "which.txt", ref, vault="unclaimed") == "old"
    files = f"refs/gitmachine/sessions/{second.record.id}/files"
    assert in_vault(settings, "which.txt", files, vault=second.record.vault) == "new"


async def test_a_machine_past_its_lease_is_stopped_and_one_in_use_is_not(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    await gm.machine.execute(f"echo late > {gm.path}/late.txt")
    lock = settings.sessions / gm.record.id / "lock"
    age(lock, LEASE + timedelta(minutes=1))
    (finding,) = await examine(settings)
    assert finding.act is Act.STOP
    assert "nobody has used session 'fix-1' since" in finding.why
    async with Registry().store(gm.record.id).lock.shared(1):
        busy = [done async for done in collect(settings, [finding])]
    assert [(done.done, done.said) for done in busy] == [(False, "it is in use")]
    assert gm.state == "running"
    age(lock, LEASE + timedelta(minutes=1))
    (done,) = await gc(settings)
    assert done.done, done
    assert gm.machine.state is MachineState.STOPPED
    assert in_vault(settings, "late.txt", f"refs/gitmachine/sessions/{gm.record.id}/files") == "late"


async def test_a_paused_machine_past_its_lease_is_stopped_with_its_work_safe(
    opened: Opening, settings: Settings
) -> None:
    gm = await opened()
    await gm.machine.execute(f"echo late > {gm.path}/late.txt")
    await gm.pause()
    (done,) = await gc(settings, timedelta(0))
    assert done.done, done
    assert gm.machine.state is MachineState.STOPPED
    assert in_vault(settings, "late.txt", f"refs/gitmachine/sessions/{gm.record.id}/files") == "late"


async def test_each_call_renews_the_lease(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    directory = settings.sessions / gm.record.id
    for call in (gm.status, gm.hash, lambda: gm.run("true")):
        age(directory / "lock", timedelta(days=30))
        assert lease_until(directory) < datetime.now(UTC)
        await call()
        assert lease_until(directory) > datetime.now(UTC) + LEASE - timedelta(minutes=1)
        assert datetime.now(UTC) - last_held(directory) < timedelta(minutes=1)


async def test_a_machine_without_session_is_left_to_its_owner_until_he_says_how_old_is_too_old(
    settings: Settings,
) -> None:
    machine = LocalMachine()
    await machine.start()
    try:
        await machine.execute("mkdir repo; echo mine > repo/mine.txt")
        assert await examine(settings) == ()
        (done,) = await gc(settings, timedelta(0))
        assert done.done, done
        assert machine.state is MachineState.STOPPED
        ref = f"refs/gitmachine/sessions/{machine.id}/files"
        assert in_vault(settings, "mine.txt", ref, vault="unclaimed") == "mine"
    finally:
        await machine.stop()


async def test_what_killed_processes_left_is_removed_when_it_is_old(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    await gm.run("echo one > one.txt")
    await gm.stop()
    store = next(settings.vaults.glob("*/sessions.git"))
    old, new = store / "objects" / "tmp_objdir-incoming-old", store / "objects" / "tmp_objdir-incoming-new"
    lock = store / "refs" / "gitmachine" / "sessions" / gm.record.id / "files.lock"
    for directory in (old, new):
        directory.mkdir()
        (directory / "pack").mkdir()
    lock.touch()
    age(old, timedelta(hours=2))
    age(lock, timedelta(hours=2))
    assert {finding.path for finding in await examine(settings)} == {old, lock}
    assert all(done.done for done in await gc(settings))
    assert not old.exists()
    assert not lock.exists()
    assert new.exists()


async def test_every_start_may_remove_obvious_leavings_in_a_few_milliseconds(
    opened: Opening, settings: Settings
) -> None:
    gm = await opened()
    await gm.stop()
    store = next(settings.vaults.glob("*/sessions.git"))
    for number in range(50):
        (store / "objects" / f"tmp_objdir-incoming-{number}").mkdir()
        age(store / "objects" / f"tmp_objdir-incoming-{number}", timedelta(hours=2))
    assert await collect_obvious(settings, budget_s=-1) == 0
    assert await collect_obvious(settings, budget_s=10) == 50
    assert not list((store / "objects").glob("tmp_objdir-*"))


async def test_spare_homes_go_when_their_builder_died_or_nobody_claimed_them(
    opened: Opening, settings: Settings
) -> None:
    gm = await opened()
    await gm.stop()
    (spare,) = settings.spares.glob("*/*/")
    assert await examine(settings) == ()
    age(spare, timedelta(days=8))
    (finding,) = await examine(settings)
    assert (finding.kind, finding.why) == ("spare", "nobody has claimed it")
    dead = spare.with_name("dead")
    dead.mkdir()
    (dead / "lock").touch()
    assert all(done.done for done in await gc(settings))
    assert not list(settings.spares.glob("*/*/"))


async def test_the_kept_output_of_a_session_goes_long_after_its_end(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    await gm.run("seq 100000", max_output_bytes=100)
    output = settings.sessions / gm.record.id / "output"
    assert output.is_dir()
    assert await examine(settings, timedelta(days=3)) == ()
    await gm.stop()
    assert await examine(settings) == ()
    store = Registry().store(gm.record.id)
    store.save(store.load().model_copy(update={"updated_at": datetime.now(UTC) - timedelta(days=31)}))
    (finding,) = await examine(settings)
    assert (finding.kind, finding.path) == ("output", output)
    assert [done.done for done in await gc(settings)] == [True]
    assert not output.exists()


async def test_a_corrupt_record_is_set_aside_and_a_newer_one_left_alone(opened: Opening, settings: Settings) -> None:
    for name, text in {"broken-1": "{", "newer-1": json.dumps({"version": 99})}.items():
        (settings.sessions / name).mkdir(parents=True)
        (settings.sessions / name / "record.json").write_text(text)
    by_name = {finding.name: finding for finding in await examine(settings)}
    assert {name: finding.act for name, finding in by_name.items()} == {"broken-1": Act.SET_ASIDE, "newer-1": Act.KEEP}
    said = {done.finding.name: done for done in await gc(settings)}
    assert said["broken-1"].done
    assert not said["newer-1"].done
    (aside,) = (settings.state_dir / "set-aside").iterdir()
    assert (aside / "record.json").read_text() == "{"
    assert (settings.sessions / "newer-1" / "record.json").exists()


async def test_a_start_that_was_killed_leaves_nothing_for_long(settings: Settings) -> None:
    machine, session = settings.machines / "local-0123456789ab", settings.sessions / "fix-1-012345"
    for directory in (machine, session):
        directory.mkdir(parents=True)
    (machine / "home").mkdir()
    (session / "lock").touch()
    assert await examine(settings) == ()
    for directory in (machine, session):
        age(directory, timedelta(hours=2))
    assert {finding.path for finding in await examine(settings)} == {machine, session}
    assert all(done.done for done in await gc(settings))
    assert not machine.exists()
    assert not session.exists()


async def test_a_sandbox_whose_maker_died_before_it_had_a_record_is_ended(settings: Settings) -> None:
    machine = LocalMachine()
    await machine.start()
    directory = settings.machines / str(machine.id)
    record = MachineRecord.load(directory / "machine.json")
    try:
        (directory / "machine.json").unlink()
        age(directory, timedelta(hours=2))
        assert [done.done for done in await gc(settings)] == [True]
        assert record.init.live() is None
        assert not directory.exists()
    finally:
        await machine.stop()


async def test_a_session_whose_machine_is_gone_is_noted_as_ended(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    await gm.machine.stop()
    assert Registry().find("fix-1").state is MachineState.RUNNING
    (done,) = await gc(settings)
    assert done.finding.act is Act.NOTE
    assert "gitmachine resume fix-1" in done.said
    assert Registry().find("fix-1").state is MachineState.STOPPED


async def test_a_plan_that_is_old_removes_nothing_that_lives_again(opened: Opening, settings: Settings) -> None:
    gm = await opened()
    stale = Finding("session", settings.sessions / gm.record.id, "its start was killed", Act.REMOVE)
    [done async for done in collect(settings, [stale])]
    assert Registry().find("fix-1").id == gm.record.id


# --- records of other versions ----------------------------------------------------------------------------------


class Third(Record):
    """A record that has changed twice: `name` was split, then got a counter."""

    VERSION: ClassVar[int] = 2
    UPGRADES: ClassVar[dict[int, Upgrade]] = {
        0: lambda data: {**data, "first": data["name"].split()[0], "last": data["name"].split()[1]},
        1: lambda data: {**data, "count": 0},
    }
    first: str
    last: str
    count: int


def test_a_record_of_an_earlier_version_is_upgraded_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"name": "Ada Lovelace"}')
    assert Third.load(path).model_dump() == {"version": 2, "first": "Ada", "last": "Lovelace", "count": 0}
    path.write_text('{"version": 1, "first": "Ada", "last": "L"}')
    record = Third.load(path)
    assert (record.last, record.count) == ("L", 0)
    record.save(path)
    assert json.loads(path.read_text())["version"] == 2


def test_a_record_that_cannot_be_upgraded_says_so_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    for text, problem in {
        '{"version": 3}': "newer GitMachine",
        '{"version": -1, "first": "A"}': "no upgrade is known",
        '{"version": "x"}': "no number",
        "[]": "no JSON object",
        "": "cannot be read",
        "\\xff": "cannot be read",
    }.items():
        path.write_text(text)
        with pytest.raises(CorruptRecord, match=problem):
            Third.load(path)
        assert path.read_text() == text
    path.write_text('{"version": 3}')
    with pytest.raises(NewerRecord):
        Third.load(path)


def test_a_sessions_record_without_version_is_from_before_there_were_versions(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("{}")
    with pytest.raises(CorruptRecord, match="version 0"):
        SessionRecord.load(path)
