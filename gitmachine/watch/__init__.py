"""The sessions of this host in a terminal: the command `gitmachine watch`. A door; needs the extra `watch`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from gitmachine.errors import MissingExtra


async def watch(shell: Sequence[str]) -> None:
    """Shows them in this process's terminal until the user leaves.

    `shell` is the program that opens a terminal in a session; it gets the session's id as its last argument. Raises
    MissingExtra.
    """
    if find_spec("textual") is None:
        raise MissingExtra('the view needs textual: install "gitmachine-sdk[watch]"')
    from gitmachine.watch.app import Watch

    await Watch(shell).run_async()
