"""How a pack from a machine gets into a store, or does not.

Like git's own receive-pack: the pack is unpacked and checked in an object directory of its own, which sees the
store's objects as alternates. Only when everything has been verified do the objects move in. A pack that is
refused leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gitmachine.errors import GitError, Quarantined, VaultError
from gitmachine.git.environment import TOLERATED_FAULTS
from gitmachine.git.host import HostGit
from gitmachine.git.parse import SHA

MAX_PACK_BYTES = 8 * 1024**3
LOOSE_BELOW_OBJECTS = 100
"""Smaller packs become loose objects: a checkpoint after each command would otherwise leave as many packs."""

_COLLECT_BYTES = 1024 * 1024
_FLUSHES_AT_ONCE = 8
_UNFLUSHED = ("-c", "core.fsync=none")
"""Objects are flushed here, at once for all, and not by git one after another."""

_STRICT = "--strict=" + ",".join(f"{fault}=ignore" for fault in TOLERATED_FAULTS)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a pack is said to bring."""

    tips: Sequence[str]
    """Commits or trees that must be there afterwards with everything they reach."""
    known: Sequence[str] = ()
    """Commits that the store has, with everything they reach."""


async def take_in(
    git: HostGit,
    store: Path,
    pack: bytes | AsyncIterator[bytes] | None,
    claim: Claim,
    max_pack_bytes: int = MAX_PACK_BYTES,
) -> None:
    """Brings a pack's objects into the bare repository `store`, durable on disk, or raises.

    Raises: Quarantined when the pack is broken, too large, fails git's fsck, or a tip is no commit or tree or
    lacks something that it reaches. VaultError when the host could not store it.
    """
    if pack is None:
        await _verify(git, store, {}, claim)
        return
    async with _quarantine(store) as (directory, env):
        try:
            await _unpack(git, store, pack, env, max_pack_bytes)
        except GitError as error:
            raise _refusal("what came out of the machine failed git's check", error) from error
        flushing = asyncio.ensure_future(asyncio.to_thread(_flush_objects, directory))
        try:
            await _verify(git, store, env, claim)
        finally:
            await asyncio.shield(flushing)
        await asyncio.shield(asyncio.to_thread(_move_in, directory, store / "objects"))


@asynccontextmanager
async def _quarantine(store: Path) -> AsyncIterator[tuple[Path, dict[str, str]]]:
    objects = store / "objects"
    # git's own prefix, so that its housekeeping removes what a killed process left.
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="tmp_objdir-incoming-", dir=objects))
    try:
        alternates = str(objects)
        if ":" in alternates or alternates.startswith('"'):
            alternates = '"' + alternates.replace("\\", "\\\\").replace('"', '\\"') + '"'
        yield directory, {"GIT_OBJECT_DIRECTORY": str(directory), "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates}
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True))


async def _unpack(
    git: HostGit, store: Path, pack: bytes | AsyncIterator[bytes], env: dict[str, str], limit: int
) -> None:
    if not isinstance(pack, bytes):
        pack = await _collected(pack)
    index = (*_UNFLUSHED, "index-pack", "--stdin", "--fix-thin", _STRICT, f"--max-input-size={limit}")
    if isinstance(pack, bytes) and _object_count(pack) < LOOSE_BELOW_OBJECTS:
        small = (*_UNFLUSHED, "unpack-objects", "-q", "--strict", f"--max-input-size={limit}")
        if (await git.run(*small, git_dir=store, stdin=pack, env=env, check=False)).exit_code == 0:
            return
        # It cannot be told which faults to tolerate; index-pack's word is the last.
    await git.run(*index, git_dir=store, stdin=pack, env=env)


async def _collected(pack: AsyncIterator[bytes]) -> bytes | AsyncIterator[bytes]:
    """The whole pack when it is small, else an iterator over all of it."""
    head = bytearray()
    async for chunk in pack:
        head += chunk
        if len(head) > _COLLECT_BYTES:
            return _chained(bytes(head), pack)
    return bytes(head)


async def _chained(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in rest:
        yield chunk


def _object_count(pack: bytes) -> int:
    """From a pack's header (gitformat-pack(5)); a broken one counts as large and is refused by index-pack."""
    return int.from_bytes(pack[8:12], "big") if pack[:4] == b"PACK" and len(pack) >= 12 else LOOSE_BELOW_OBJECTS


async def _verify(git: HostGit, store: Path, env: dict[str, str], claim: Claim) -> None:
    for tip in claim.tips:
        if not SHA.fullmatch(tip):
            raise Quarantined(f"{tip[:80]!r} is not the name of an object")
    if not claim.tips:
        return
    # A blob cannot be read as a tree, so one process tells both the kind and what is missing.
    walk = [line for tip in claim.tips for line in (tip, f"{tip}^{{tree}}")] + [f"^{sha}" for sha in claim.known]
    reached = await git.run(
        "rev-list", "--objects", "--quiet", "--stdin",
        git_dir=store, stdin="".join(f"{line}\n" for line in walk).encode(), env=env, check=False,
    )  # fmt: skip
    if reached.exit_code != 0:
        raise Quarantined(
            "a commit or tree, or something that it needs, did not come out of the machine",
            argv=reached.argv, exit_code=reached.exit_code, stderr=reached.stderr,
        )  # fmt: skip


def _refusal(message: str, error: GitError) -> VaultError:
    """The store's own trouble stays what it is; everything else is the pack's fault."""
    ours = any(sign in error.stderr for sign in ("No space left", "unable to write", "unable to create"))
    kind = VaultError if ours else Quarantined
    text = "the host's store could not take the objects" if ours else message
    return kind(text, argv=error.argv, exit_code=error.exit_code, stderr=error.stderr)


def _places(quarantine: Path) -> list[Path]:
    return [entry for entry in quarantine.iterdir() if entry.name == "pack" or len(entry.name) == 2]


def _flush_objects(quarantine: Path) -> None:
    _flush_all([file for place in _places(quarantine) for file in place.iterdir()])


def _move_in(quarantine: Path, objects: Path) -> None:
    """Renames flushed objects to their places and flushes the directories: then a power cut loses nothing.

    An object that is there already is left as it is.
    """
    touched = [objects]
    for place in _places(quarantine):
        target = objects / place.name
        target.mkdir(exist_ok=True)
        touched.append(target)
        # A pack is there for git once its .idx is.
        for file in sorted(place.iterdir(), key=lambda file: file.suffix == ".idx"):
            if not (target / file.name).exists():
                file.rename(target / file.name)
    _flush_all(touched)


def _flush_all(paths: Sequence[Path]) -> None:
    """Flushes that wait together share one commit of the file system's journal."""
    with ThreadPoolExecutor(_FLUSHES_AT_ONCE) as pool:
        list(pool.map(_flush, paths))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
