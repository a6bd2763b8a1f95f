"""What comes out of a machine: honest packs go in, hostile ones leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gitmachine.errors import ConfigurationError, Quarantined
from gitmachine.git.quarantine import MAX_PACK_BYTES
from gitmachine.git.vault import Vault
from tests.support.git_server import Repository
from tests.support.maker import Maker, commit_bytes, pack_of, sha_of, tree_entry

TIP = "refs/gitmachine/sessions/s1/tip"
BLOB = ("blob", b"content\n")
BLOB_SHA = sha_of(*BLOB)
EVIL_MODULES = [
    b'[submodule "x"]\n\tpath = x\n\turl = -u./payload\n',
    b'[submodule "../../x"]\n\tpath = x\n\turl = https://h/x\n',
    b'[submodule "x"]\n\tpath = -x\n\turl = https://h/x\n',
]


def objects_of(vault: Vault) -> set[Path]:
    return {path for path in (vault.store / "objects").rglob("*") if path.is_file()}


async def refused(vault: Vault, pack: bytes, tip: str, limit: int = MAX_PACK_BYTES) -> Quarantined:
    """The refusal; nothing has changed by it."""
    before = objects_of(vault)
    with pytest.raises(Quarantined) as caught:
        await vault.receive(pack, {TIP: tip}, max_pack_bytes=limit)
    assert objects_of(vault) == before
    assert await vault.refs("refs/gitmachine/") == {}
    assert not list((vault.store / "objects").glob("tmp_*"))
    return caught.value


def committed(*entries: bytes, extra: tuple[tuple[str, bytes], ...] = ()) -> tuple[bytes, str]:
    """A pack with a commit of a tree of those entries, and the commit's name."""
    tree = ("tree", b"".join(entries))
    commit = ("commit", commit_bytes(sha_of(*tree)))
    return pack_of(BLOB, *extra, tree, commit), sha_of(*commit)


async def test_an_honest_pack_goes_in_with_its_refs(vault: Vault, maker: Maker, project: Repository) -> None:
    tip = maker.commit({"a": "1", "b/c": "2"})
    tree = maker.git("rev-parse", "HEAD^{tree}")
    await vault.receive(maker.pack(tip), {TIP: tip, "refs/gitmachine/sessions/s1/tree": tree})
    assert await vault.resolve(TIP) == tip
    assert await vault.kinds([tip, tree, "1" * 40]) == {tip: "commit", tree: "tree", "1" * 40: None}
    assert await vault.is_ancestor(project.heads()["main"], tip)
    await vault.git.run("fsck", "--strict", git_dir=vault.store)


async def test_the_refs_of_other_sessions_are_not_read(vault: Vault, maker: Maker) -> None:
    other = vault.store / "refs" / "gitmachine" / "sessions" / "other" / "tip"
    other.parent.mkdir(parents=True)
    os.mkfifo(other)  # which would be waited for
    tip = maker.commit({"a": "1"})
    async with asyncio.timeout(20):
        await vault.receive(maker.pack(tip), {TIP: tip})
        assert await vault.refs("refs/gitmachine/sessions/s1/") == {TIP: tip}


async def test_small_packs_become_loose_and_large_ones_stay(vault: Vault, maker: Maker) -> None:
    tip = maker.commit({"a": "1"})
    await vault.receive(maker.pack(tip), {TIP: tip})
    assert not list((vault.store / "objects" / "pack").glob("*.pack"))
    tip = maker.commit({f"many/{number}": str(number) for number in range(150)})
    await vault.receive(maker.pack(tip), {TIP: tip})
    assert len(list((vault.store / "objects" / "pack").glob("*.idx"))) == 1
    await vault.git.run("fsck", "--strict", git_dir=vault.store)


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_a_pack_can_come_in_pieces(vault: Vault, maker: Maker, size: int) -> None:
    tip = maker.commit({"noise": random.Random(1).randbytes(size)})
    pack = maker.pack(tip)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(pack), 70_000):
            yield pack[start : start + 70_000]

    await vault.receive(pieces(), {TIP: tip})
    await vault.git.run("fsck", "--strict", git_dir=vault.store)
    assert await vault.sizes([maker.git("rev-parse", "HEAD:noise")]) == {maker.git("rev-parse", "HEAD:noise"): size}


async def test_a_pack_received_twice_changes_nothing(vault: Vault, maker: Maker) -> None:
    tip = maker.commit({"a": "1"})
    for _ in range(2):
        await vault.receive(maker.pack(tip), {TIP: tip})
    await vault.receive(None, {TIP: tip, "refs/gitmachine/sessions/s1/base": tip})
    await vault.receive(None, {TIP: None})
    assert await vault.resolve(TIP) is None


async def test_bytes_after_the_pack_are_ignored(vault: Vault, maker: Maker) -> None:
    tip = maker.commit({"a": "1"})
    await vault.receive(maker.pack(tip) + b"trailing", {TIP: tip})


@pytest.mark.parametrize(
    "name",
    [b".git", b".GiT", b"git~1", ".g\u200cit".encode(), b"..", b".", b"a/b", b"", b".git ", b".git\\x"],
)
async def test_a_tree_with_a_dangerous_name_is_refused(vault: Vault, name: bytes) -> None:
    await refused(vault, *committed(tree_entry("100644", name, BLOB_SHA)))


@pytest.mark.parametrize("many", [False, True])
async def test_a_dangerous_name_is_refused_in_large_packs_too(vault: Vault, many: bool) -> None:
    extra = tuple(("blob", f"{number}".encode()) for number in range(200 if many else 2))
    await refused(vault, *committed(tree_entry("100644", b".git", BLOB_SHA), extra=extra))


async def test_duplicate_and_unsorted_trees_are_refused(vault: Vault) -> None:
    one, two = tree_entry("100644", b"a", BLOB_SHA), tree_entry("100644", b"b", BLOB_SHA)
    await refused(vault, *committed(one, one))
    await refused(vault, *committed(two, one))


@pytest.mark.parametrize("content", EVIL_MODULES)
async def test_evil_submodule_definitions_are_refused(vault: Vault, content: bytes) -> None:
    modules = ("blob", content)
    await refused(vault, *committed(tree_entry("100644", b".gitmodules", sha_of(*modules)), extra=(modules,)))


async def test_gitmodules_as_a_link_is_refused(vault: Vault) -> None:
    await refused(vault, *committed(tree_entry("120000", b".gitmodules", BLOB_SHA)))


async def test_damaged_packs_are_refused(vault: Vault, maker: Maker) -> None:
    tip = maker.commit({"a": "1" * 300})
    pack = maker.pack(tip)
    flipped = bytearray(pack)
    flipped[len(pack) // 2] ^= 0xFF
    absurd = pack[:8] + struct.pack(">I", 2**31) + pack[12:]
    for bad in (pack[:-30], bytes(flipped), absurd, b"", b"PACK", b"not a pack at all", pack[12:]):
        await refused(vault, bad, tip)


async def test_a_tip_that_did_not_come_is_refused(vault: Vault, maker: Maker) -> None:
    tip = maker.commit({"a": "1"})
    for wrong in ("1" * 40, "", "HEAD", "--all", tip[:12], tip + "\n" + tip):
        await refused(vault, maker.pack(tip), wrong)


async def test_a_tip_that_is_a_blob_is_refused(vault: Vault) -> None:
    await refused(vault, pack_of(BLOB), BLOB_SHA)


@pytest.mark.parametrize("filler", [0, 200])
async def test_a_missing_blob_parent_or_tree_is_refused(vault: Vault, filler: int) -> None:
    extra = tuple(("blob", f"{number}".encode()) for number in range(filler))
    tree = ("tree", tree_entry("100644", b"a", "2" * 40))
    commit = ("commit", commit_bytes(sha_of(*tree)))
    await refused(vault, pack_of(tree, commit, *extra), sha_of(*commit))
    whole = ("tree", tree_entry("100644", b"a", BLOB_SHA))
    for orphan in (commit_bytes(sha_of(*whole), "3" * 40), commit_bytes("4" * 40)):
        commit = ("commit", orphan)
        await refused(vault, pack_of(BLOB, whole, commit, *extra), sha_of(*commit))


async def test_an_object_of_the_wrong_kind_in_a_tree_is_refused(vault: Vault) -> None:
    await refused(vault, *committed(tree_entry("40000", b"a", BLOB_SHA)))


async def test_a_delta_against_what_the_vault_does_not_have_is_refused(vault: Vault, maker: Maker) -> None:
    noise = "".join(f"line {number}\n" for number in range(2000))
    base = maker.commit({"a": noise})
    tip = maker.commit({"a": noise + "one more\n"})
    await refused(vault, maker.pack(tip, without=base), tip)


@pytest.mark.parametrize("author", ["no email 1700000000 +0000", "A <a@b> never +0000", "A <a<b@c> 1700000000 +0000"])
async def test_a_malformed_author_is_refused(vault: Vault, author: str) -> None:
    tree = ("tree", tree_entry("100644", b"a", BLOB_SHA))
    commit = ("commit", commit_bytes(sha_of(*tree), author=author))
    await refused(vault, pack_of(BLOB, tree, commit), sha_of(*commit))


async def test_harmless_blemishes_of_old_history_pass(vault: Vault) -> None:
    tree = ("tree", tree_entry("0100644", b"a", BLOB_SHA))
    commit = ("commit", commit_bytes(sha_of(*tree), author="A <a@b> 1300000000 +051800"))
    await vault.receive(pack_of(BLOB, tree, commit), {TIP: sha_of(*commit)})
    assert await vault.resolve(TIP) == sha_of(*commit)


async def test_a_pack_above_the_limit_is_refused(vault: Vault, maker: Maker) -> None:
    tip = maker.commit({"noise": random.Random(2).randbytes(200_000)})
    await refused(vault, maker.pack(tip), tip, limit=100_000)


async def test_refs_outside_of_a_session_are_refused_before_anything(vault: Vault, maker: Maker) -> None:
    tip = maker.commit({"a": "1"})
    before = objects_of(vault)
    for ref in ("refs/heads/main", "refs/gitmachine/sessions/x", "refs/gitmachine/sessions/x/../y", "HEAD"):
        with pytest.raises(ConfigurationError):
            await vault.receive(maker.pack(tip), {ref: tip})
    assert objects_of(vault) == before


async def test_a_cancelled_receive_leaves_nothing(vault: Vault, maker: Maker) -> None:
    before = objects_of(vault)
    pack = maker.pack(maker.commit({"noise": random.Random(3).randbytes(3_000_000)}))
    started = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield pack[:2_000_000]
        yield pack[2_000_000:2_500_000]
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(vault.receive(stalling(), {TIP: "1" * 40}))
    async with asyncio.timeout(10):
        await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert objects_of(vault) == before
    assert not list((vault.store / "objects").glob("tmp_*"))
