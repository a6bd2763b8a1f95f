"""Loose objects, written without a git process: what a checkpoint adds is a handful of small ones.

The format is git's own (gitformat-loose-object(5), and "Object storage" in the git book): the zlib stream of
`<kind> <size>NUL<content>`, in a file named by its SHA-1.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

_FLUSHES_AT_ONCE = 8
_SLOW_FLUSH_S = 0.001
"""To start threads and wait for them takes longer than a few flushes of this length."""
_LEVEL = 1

_TEMPORARY = "tmp_obj_"
"""git's own prefix, so that its housekeeping removes what a killed process left."""
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC

MAX_BLOB_BYTES = 16 * 1024 * 1024
"""What a blob may come to that `blobs_in` reads."""


def object_name(kind: str, content: bytes) -> str:
    """The name of an object, 40 hex digits."""
    return _name(_framed(kind, content))


def tree_content(entries: Sequence[tuple[str, str, str]]) -> bytes:
    """A tree object's content from (name, mode, object); names are plain files' and ASCII."""
    ordered = sorted(entries, key=lambda entry: entry[0])
    return b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(sha) for name, mode, sha in ordered)


def blobs_in(files: bytes) -> dict[str, bytes]:
    """The contents of blobs by name, from the files of loose objects one behind another.

    One that was cut off, and what follows it, is left out, as is what is no blob. The name is that of the content.
    """
    found: dict[str, bytes] = {}
    while files:
        stream = zlib.decompressobj()
        try:
            framed = stream.decompress(files, MAX_BLOB_BYTES)
        except zlib.error:
            break
        if not stream.eof:
            break
        files = stream.unused_data
        head, _, content = framed.partition(b"\0")
        if head == b"blob %d" % len(content):
            found[object_name("blob", content)] = content
    return found


def write(objects: Path, contents: Sequence[tuple[str, bytes]], *, durable: bool = True) -> list[str]:
    """Writes (kind, content) into an object directory and gives their names.

    With `durable` they are on disk on return; without it a power cut, but no killed process, can undo it. Objects
    that are there as files already are left as they are. Blocks. Raises OSError.
    """
    framed = [_framed(kind, content) for kind, content in contents]
    names = [_name(frame) for frame in framed]
    root = os.fspath(objects)
    written: list[tuple[str, str]] = []
    try:
        for name, frame in zip(names, framed, strict=True):
            target = _file(root, name)
            if not os.path.exists(target):
                written.append((_write_one(target, frame), target))
        if durable:
            _flush([temporary for temporary, _ in written])
        for temporary, target in written:
            os.replace(temporary, target)
        if durable:
            _flush(sorted({os.path.dirname(target) for _, target in written}))
    except BaseException:  # whatever it was, a Ctrl-C included: no half of it stays
        for temporary, _ in written:
            _discard(temporary)
        raise
    return names


def flush(objects: Path, names: Sequence[str]) -> None:
    """Makes objects durable that were written without. One that has been packed meanwhile is passed over. Blocks."""
    paths = [path for name in names if os.path.exists(path := _file(os.fspath(objects), name))]
    _flush([*paths, *sorted({os.path.dirname(path) for path in paths})])


def _framed(kind: str, content: bytes) -> bytes:
    return f"{kind} {len(content)}\0".encode() + content


def _name(framed: bytes) -> str:
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest()


def _file(objects: str, name: str) -> str:
    return f"{objects}/{name[:2]}/{name[2:]}"


def _write_one(target: str, framed: bytes) -> str:
    directory = os.path.dirname(target)
    temporary = f"{directory}/{_TEMPORARY}{secrets.token_hex(6)}"
    try:
        descriptor = os.open(temporary, _NEW, 0o444)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(directory)
        descriptor = os.open(temporary, _NEW, 0o444)
    try:
        write_all(descriptor, zlib.compress(framed, _LEVEL))
    except BaseException:  # the same for one of them
        _discard(temporary)
        raise
    finally:
        os.close(descriptor)
    return temporary


def _discard(temporary: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(temporary)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of it. Blocks. Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


def _flush(paths: Sequence[str]) -> None:
    """One after another where that is quick; on a disk that takes its time, flushes that wait together share it."""
    for number, path in enumerate(paths, 1):
        began = time.monotonic()
        _flush_one(path)
        if time.monotonic() - began > _SLOW_FLUSH_S and number < len(paths):
            with ThreadPoolExecutor(min(_FLUSHES_AT_ONCE, len(paths) - number)) as pool:
                list(pool.map(_flush_one, paths[number:]))
            return


def _flush_one(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
