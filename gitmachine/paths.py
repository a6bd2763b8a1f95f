"""Paths in a machine: text, whose rules are POSIX's wherever this program runs. No file system is asked."""

from __future__ import annotations

import posixpath


def relative(path: str, start: str) -> str:
    """The absolute `path` as seen from the absolute directory `start`; "" is that directory itself.

    As posixpath.relpath, which would ask for this program's own working directory.
    """
    parts, base = ([part for part in posixpath.normpath(one).split("/") if part] for one in (path, start))
    shared = 0
    while shared < min(len(parts), len(base)) and parts[shared] == base[shared]:
        shared += 1
    return "/".join([".."] * (len(base) - shared) + parts[shared:])
