"""The tasks of one event loop that want the same file stand in a queue, first come, first served.

Only the first of them asks for the file itself: hundreds that all asked again and again would keep whoever has it from
coming to its end.
"""

from __future__ import annotations

import asyncio
import threading
from weakref import WeakKeyDictionary, WeakValueDictionary

_Queues = WeakValueDictionary[str, asyncio.Lock]
_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queues] = WeakKeyDictionary()
_loops = threading.Lock()


def queue_of(path: object) -> asyncio.Lock:
    """The queue of the running loop's tasks for the file at `path`. It is there as long as somebody stands in it."""
    with _loops:
        queues = _by_loop.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    return queues.setdefault(str(path), asyncio.Lock())
