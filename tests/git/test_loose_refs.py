"""Refs moved without git are the refs that git sees."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

from gitmachine.git import loose_refs
from gitmachine.git.vault import Vault
from gitmachine.types import GitIdentity
from tests.support.git_server import git

PREFIX = "refs/gitmachine/sessions/s/"


def seen_by_git(vault: Vault) -> dict[str, str]:
    lines = git("for-each-ref", "--format=%(refname) %(objectname)", PREFIX, cwd=vault.store).splitlines()
    return dict(line.split(" ") for line in lines)


async def _head(vault: Vault) -> str:
    return (await vault.refs("refs/heads/"))["refs/heads/main"]


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


def test_a_lock_that_somebody_holds_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "refs").mkdir()
    (tmp_path / "objects" / "11").mkdir(parents=True)
    (tmp_path / "objects" / "11" / ("1" * 38)).touch()
    (tmp_path / "refs" / "b.lock").touch()
    assert not loose_refs.move(tmp_path, {"refs/a": "1" * 40, "refs/b": "1" * 40}, durable=False)
    assert sorted(entry.name for entry in (tmp_path / "refs").iterdir()) == ["b.lock"]


async def test_movers_at_once_leave_one_of_their_values(vault: Vault) -> None:
    base = await _head(vault)
    tree = await vault.tree_of(base)
    when = datetime(2026, 1, 1, tzinfo=UTC)
    made = [await vault.write_commit(tree, [base], GitIdentity(), text, when) for text in ("one", "two")]
    sha, tree = made[0].sha, made[1].sha
    await asyncio.gather(*(vault.update_refs({f"{PREFIX}tip": value}) for value in [sha, tree] * 10))
    assert (await vault.refs(PREFIX))[f"{PREFIX}tip"] in (sha, tree)
    assert not list(vault.store.rglob("*.lock"))


async def test_the_lock_that_a_killed_mover_left_is_in_nobodys_way(vault: Vault) -> None:
    sha = await _head(vault)
    await vault.update_refs({f"{PREFIX}tip": sha})
    lock = vault.store / f"{PREFIX}tip.lock"
    prepared = vault.store / "gm-ref-0123"
    prepared.write_text(f"{sha}\n")
    os.link(prepared, lock)
    await vault.update_refs({f"{PREFIX}tip": await vault.tree_of(sha)})
    assert not lock.exists()


async def test_the_lock_that_a_killed_git_left_is_in_nobodys_way_after_a_while(vault: Vault) -> None:
    sha = await _head(vault)
    await vault.update_refs({f"{PREFIX}tip": sha})
    lock = vault.store / f"{PREFIX}tip.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    await vault.update_refs({f"{PREFIX}tip": None})
    assert await vault.refs(PREFIX) == {}
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    os.utime(lock, (0, 0))
    await vault.update_refs({f"{PREFIX}tip": sha})
    assert await vault.refs(PREFIX) == {f"{PREFIX}tip": sha}
