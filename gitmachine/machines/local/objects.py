"""A machine's own view of git objects of the host: hard links, bound read-only.

A directory of its own and not the vault's, so that a repack or a prune of the vault takes nothing away from a
live machine. The links share the files with the vault; what protects those is that the machine sees them only
through a read-only bind.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from gitmachine.errors import ConfigurationError

_LOOSE_DIRECTORY = re.compile(r"[0-9a-f]{2}")
_LOOSE = re.compile(r"[0-9a-f]{38}|[0-9a-f]{62}")
_PACK = re.compile(r"pack-[0-9a-f]+\.(pack|idx|rev|bitmap)")


def share(source: Path, target: Path, *, readable_by_others: bool) -> None:
    """Links every pack and loose object of `source` that `target` lacks. Blocks; safe to call again.

    `readable_by_others`: whoever reads them is another user than the owner; what he could not read is copied.
    Raises ConfigurationError when `source` is no directory.
    """
    if not source.is_dir():
        raise ConfigurationError(f"{source} is not a git object directory")
    # A pack that vanishes while we look was repacked: its objects are in one that the next look finds.
    while not _share_once(source, target, readable_by_others=readable_by_others):
        pass


def _share_once(source: Path, target: Path, *, readable_by_others: bool) -> bool:
    for path in sorted(_objects(source), key=_order):
        destination = target / path.relative_to(source)
        if not destination.exists():
            destination.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                _link(path, destination, readable_by_others=readable_by_others)
            except FileNotFoundError:
                return False
    return True


def _objects(source: Path) -> Iterator[Path]:
    for directory in source.iterdir():
        if directory.name == "pack":
            wanted = _PACK
        elif _LOOSE_DIRECTORY.fullmatch(directory.name):
            wanted = _LOOSE
        else:
            continue
        yield from (path for path in directory.iterdir() if wanted.fullmatch(path.name))


def _order(path: Path) -> tuple[bool, str]:
    # git looks for packs by their index: it comes last, when all that it promises is there.
    return path.suffix == ".idx", path.name


def _link(source: Path, target: Path, *, readable_by_others: bool) -> None:
    try:
        if not readable_by_others or source.stat().st_mode & 0o004:
            os.link(source, target)
            return
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES):
            raise
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, temporary)
    temporary.chmod(0o444)
    temporary.replace(target)
