"""The sessions of this host as a local web page: the command `gitmachine ui`. A door; needs the extra `ui`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from gitmachine.errors import MissingExtra

_NEEDED = ("jinja2", "starlette", "uvicorn")


async def serve(port: int, on_ready: Callable[[str], None]) -> None:
    """Serves on 127.0.0.1 until it is cancelled. `port` 0 is any that is free.

    `on_ready` gets the address, which lets in whoever opens it first. Raises ConfigurationError when the port is
    taken, MissingExtra.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise MissingExtra(f'the web page needs {" and ".join(missing)}: install "gitmachine-sdk[ui]"')
    from gitmachine.ui.server import listen

    await listen(port, on_ready)
