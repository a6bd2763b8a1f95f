"""Refs moved without git are the refs that git sees."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gitmachine.git import loose_refs
from gitmachine.git.turns import turn
from gitmachine.git.vault import Vault
from gitmachine.types import GitIdentity
from tests.support.git_server import git

PREFIX = "refs/gitmachine/sessions/s/"


def seen_by_git(vault: Vault) -> dict[str, str]:
    lines = git("for-each-ref", "--format=%(refname) %(objectname)", PREFIX, cwd=vault.store).splitlines()
    return dict(line.split(" ") for line in lines)


async def _head(vault: Vault) -> str:
    return (await vault.refs("refs/heads/"))["refs/heads/main"]


async def _commits(vault: Vault, count: int) -> list[str]:
    base = await _head(vault)
    tree, when = await vault.tree_of(base), datetime(2026, 1, 1, tzinfo=UTC)
    return [(await vault.write_commit(tree, [base], GitIdentity(), str(number), when)).sha for number in range(count)]


async def test_git_sees_what_was_moved_and_what_git_moved_is_seen(vault: Vault) -> None:
    sha = await _head(vault)
    await vault.update_refs({f"{PREFIX}tip": sha, f"{PREFIX}heads/a/b": sha})
    assert seen_by_git(vault) == {f"{PREFIX}tip": sha, f"{PREFIX}heads/a/b": sha} == await vault.refs(PREFIX)
    git("update-ref", f"{PREFIX}files", sha, cwd=vault.store)
    assert (await vault.refs(PREFIX))[f"{PREFIX}files"] == sha


async def test_packed_refs_are_read_and_a_moved_one_wins_over_its_packed_self(vault: Vault) -> None:
    old = await _head(vault)
    await vault.update_refs({f"{PREFIX}tip": old, f"{PREFIX}base": old})
    git("pack-refs", "--all", cwd=vault.store)
    assert await vault.refs(PREFIX) == {f"{PREFIX}tip": old, f"{PREFIX}base": old}
    new = await vault.tree_of(old)
    await vault.update_refs({f"{PREFIX}tip": new})
    assert await vault.refs(PREFIX) == seen_by_git(vault) == {f"{PREFIX}tip": new, f"{PREFIX}base": old}


async def test_a_branch_that_makes_room_for_another_is_gits_affair_and_works(vault: Vault) -> None:
    sha = await _head(vault)
    await vault.update_refs({f"{PREFIX}heads/a": sha})
    await vault.update_refs({f"{PREFIX}heads/a": None, f"{PREFIX}heads/a/b": sha})
    assert list(await vault.refs(PREFIX)) == [f"{PREFIX}heads/a/b"]
    await vault.update_refs({f"{PREFIX}heads/a/b": None})
    await vault.update_refs({f"{PREFIX}heads/a": sha})
    assert list(await vault.refs(PREFIX)) == [f"{PREFIX}heads/a"]


async def test_the_lock_of_a_git_that_a_person_runs_is_waited_for(vault: Vault) -> None:
    sha = await _head(vault)
    await vault.update_refs({f"{PREFIX}tip": sha})
    holding = await asyncio.create_subprocess_exec(
        "git", "--git-dir", str(vault.store), "update-ref", "--stdin",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert holding.stdin is not None
    assert holding.stdout is not None
    holding.stdin.write(f"start\nupdate {PREFIX}tip {await vault.tree_of(sha)}\nprepare\n".encode())
    assert [await holding.stdout.readline() for _ in range(2)] == [b"start: ok\n", b"prepare: ok\n"]
    moving = asyncio.ensure_future(vault.update_refs({f"{PREFIX}tip": sha, f"{PREFIX}base": sha}))
    await holding.communicate(b"commit\n")
    await moving
    assert seen_by_git(vault) == {f"{PREFIX}tip": sha, f"{PREFIX}base": sha}


async def test_movers_at_once_leave_one_of_their_values(vault: Vault) -> None:
    sha, tree = await _commits(vault, 2)
    await asyncio.gather(*(vault.update_refs({f"{PREFIX}tip": value}) for value in [sha, tree] * 10))
    assert (await vault.refs(PREFIX))[f"{PREFIX}tip"] in (sha, tree)
    assert not list(vault.store.rglob("*.lock"))


async def test_the_lock_that_a_killed_mover_left_is_in_nobodys_way(vault: Vault) -> None:
    sha = await _head(vault)
    await vault.update_refs({f"{PREFIX}tip": sha})
    lock = vault.store / f"{PREFIX}tip.lock"
    prepared = vault.store / "left-by-the-killed"
    prepared.write_text(f"{sha}\n")
    os.link(prepared, lock)
    await vault.update_refs({f"{PREFIX}tip": await vault.tree_of(sha)})
    assert not lock.exists()


class Kill:
    """Lets so many calls to the file system through; from then on each one fails, as none comes from the dead."""

    class Dead(BaseException):
        pass

    def __init__(self, patch: pytest.MonkeyPatch, calls: int) -> None:
        self.left = calls
        for name in ("open", "write", "link", "replace", "unlink", "stat", "fstat"):
            patch.setattr(os, name, partial(self._counted, getattr(os, name)))

    def _counted(self, call: Callable[..., Any], *arguments: object, **keywords: object) -> Any:
        self.left -= 1
        if self.left < 0:
            raise self.Dead
        return call(*arguments, **keywords)


async def test_a_mover_that_was_killed_at_any_step_leaves_refs_that_move_on(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    shas = await _commits(vault, 3)
    values = [{f"{PREFIX}tip": sha, f"{PREFIX}files": sha} for sha in shas]
    for step in range(100):
        loose_refs.move(vault.store, values[0], durable=False)
        with monkeypatch.context() as patch, suppress(Kill.Dead):
            kill = Kill(patch, step)
            loose_refs.move(vault.store, values[1], durable=False)
        assert set(loose_refs.read(vault.store, PREFIX).values()) <= {*shas[:2]}
        assert loose_refs.move(vault.store, values[2], durable=False)
        assert seen_by_git(vault) == values[2]
        if kill.left >= 0:
            break
    assert 10 < step < 99
    assert not list(vault.store.rglob("*.lock"))


async def test_a_ref_that_moves_often_keeps_two_files(vault: Vault) -> None:
    shas = await _commits(vault, 6)
    ref = vault.store / f"{PREFIX}tip"
    files = set()
    for sha in shas:
        assert loose_refs.move(vault.store, {f"{PREFIX}tip": sha}, durable=True)
        files.add(ref.stat().st_ino)
        assert ref.stat().st_nlink == 1
    assert len(files) == 2


async def test_a_ref_that_is_deleted_leaves_no_second_file(vault: Vault) -> None:
    shas = await _commits(vault, 3)
    for sha in shas:
        await vault.update_refs({f"{PREFIX}heads/work": sha})
    assert list((vault.store / "gm-refs").iterdir())
    await vault.update_refs({f"{PREFIX}heads/work": None})
    assert not list((vault.store / "gm-refs").iterdir())


async def test_the_locks_that_a_killed_git_left_are_no_refs_and_in_nobodys_way(vault: Vault) -> None:
    sha = await _head(vault)
    await vault.update_refs({f"{PREFIX}heads/work": sha, f"{PREFIX}tip": sha})
    left = [f"{PREFIX}heads/work.lock", f"{PREFIX}tip.lock", "packed-refs.lock", "packed-refs.new"]
    for name in left:
        (vault.store / name).write_text(f"{sha}\n")
    # `work.lock` is no name that git allows a branch; a name that merely has those letters is one.
    await vault.update_refs({f"{PREFIX}heads/padlock": sha})
    assert await vault.refs(PREFIX) == {f"{PREFIX}{name}": sha for name in ("heads/work", "heads/padlock", "tip")}
    await vault.update_refs({f"{PREFIX}heads/work": None, f"{PREFIX}tip": await vault.tree_of(sha)})
    assert seen_by_git(vault) == await vault.refs(PREFIX)
    assert not [name for name in left if (vault.store / name).exists()]


HOLDER = """
import asyncio, sys
from pathlib import Path
from gitmachine.git.turns import turn

async def main():
    async with turn(Path(sys.argv[1])) as git:
        await git.run("-c", f"alias.hold=!exec cat {sys.argv[2]}", "hold", git_dir=None)

asyncio.run(main())
"""


async def test_the_git_of_a_killed_program_keeps_its_turn_until_it_ends(tmp_path: Path) -> None:
    path, pipe = tmp_path / loose_refs.TURN, tmp_path / "pipe"
    os.mkfifo(pipe)
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, str(path), str(pipe))
    async with asyncio.timeout(20):
        while (writer := _writer(pipe)) is None:  # git is not there yet
            await asyncio.sleep(0.01)
        program.kill()
        await program.wait()
        with path.open("ab") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(writer)
        async with turn(path):
            pass


def _writer(pipe: Path) -> int | None:
    """Opens the pipe when somebody reads it."""
    with suppress(OSError):
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    return None
