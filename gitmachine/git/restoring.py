"""Puts files of a machine's working tree back to what the vault has, beside the repository that is there.

The agent's HEAD, branches and index stay as they are: only files change.
"""

from __future__ import annotations

import base64
import binascii
import os
import posixpath
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gitmachine.errors import GitError
from gitmachine.git import text
from gitmachine.git.parse import Change
from gitmachine.machine import Machine
from gitmachine.types import ExecuteOptions

_LIMIT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What putting files back came to."""

    aside: tuple[str, ...] = ()
    """What stood in the way and was not the working tree's, moved to `aside_path` in the machine."""
    aside_path: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes to make, as the script `restore` takes them."""

    sections: tuple[bytes, ...]
    blobs: tuple[str, ...]
    """The contents that it needs."""


def plan(changes: Sequence[Change]) -> Plan:
    """What must be done to a working tree for these changes. A submodule is only ever an empty directory."""
    gone = [c.path for c in changes if c.status == "D" and c.old_mode != text.GITLINK_MODE]
    links_gone = [c.path for c in changes if c.status == "D" and c.old_mode == text.GITLINK_MODE]
    written = [c for c in changes if c.status != "D" and c.new_mode != text.GITLINK_MODE]
    fresh = [c.path for c in written if c.status == "A"]
    attributes = [c.path for c in written if posixpath.basename(c.path) == b".gitattributes"]
    touched = _above([*gone, *(c.path for c in written)])
    sections = (
        _list([b"", *touched]),
        _list(gone),
        _list([*links_gone, *reversed(_above([*gone, *links_gone]))]),
        _list(_above(fresh)),
        _list(fresh),
        b"".join(path + b"\0" for path in attributes),
        text.index_info([(c.path, c.new_mode, c.new_sha) for c in written]),
    )
    return Plan(sections, tuple(dict.fromkeys(c.new_sha for c in written)))


async def restore(
    machine: Machine, path: str, plan: Plan, pack: AsyncIterator[bytes] | None, objects: str | None = None
) -> Restored:
    """Carries a plan out in the repository at `path`.

    The contents come from `pack`, or from the directory `objects` that the machine can read. Raises GitError.
    """
    home = await machine.home()
    given = f"{home}/.gitmachine/restore.input"
    aside = f"{home}/.gitmachine/aside/{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    await machine.write_bytes(given, _input(plan, pack))
    environment = {
        **text.machine_environment(),
        "GM_REPO": path,
        "GM_INPUT": given,
        "GM_SIZES": " ".join(str(len(section)) for section in plan.sections),
        "GM_ASIDE": aside,
        "GM_ALTERNATES": f"{objects}\n" if objects else "",
        "GM_PACKED": "yes" if pack is not None else "",
    }
    options = ExecuteOptions(cwd="/", env=environment, timeout=_LIMIT_S, max_output_bytes=None)
    result = await machine.execute(text.script("restore"), options)
    if result.timed_out or result.exit_code != 0:
        raise GitError(
            f"the files at {path} could not be put back in machine {machine.id}",
            exit_code=result.exit_code, stderr=result.stderr,
        )  # fmt: skip
    moved = _moved(result.stdout)
    return Restored(moved, aside if moved else "")


async def _input(plan: Plan, pack: AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    yield b"".join(plan.sections)
    if pack is not None and plan.blobs:
        async for chunk in pack:
            yield chunk


def _moved(answer: str) -> tuple[str, ...]:
    for line in answer.splitlines():
        if line.startswith("aside "):
            try:
                names = base64.b64decode(line.removeprefix("aside "), validate=True)
            except binascii.Error as error:
                raise GitError("the machine answered with a broken list of files", stderr=line[:200]) from error
            return tuple(os.fsdecode(name.removeprefix(b"./")) for name in names.split(b"\0") if name)
    return ()


def _above(paths: Iterable[bytes]) -> list[bytes]:
    """The directories that the paths are in, each behind the one that it is in."""
    found: set[bytes] = set()
    for path in paths:
        while (path := posixpath.dirname(path)) and path not in found:
            found.add(path)
    return sorted(found)


def _list(paths: Iterable[bytes]) -> bytes:
    """As arguments of `rm`, `mkdir`, `chmod`, none of which must take a name for an option."""
    return b"".join(b"./" + path + b"\0" for path in paths)
