"""Sessions for programs without `await`: the same names and the same calls, which block until they are done.

    from gitmachine import LocalMachine
    from gitmachine.sync import GitMachine

    with GitMachine(machine=LocalMachine(), repository="https://…", session="fix-1") as gm:
        print(gm.run("pytest -q").stdout)

All sessions of a program run on one event loop in a thread of its own; any thread may call. Callbacks run in
threads too, so that they may block, and are given the session of this module.
"""

from __future__ import annotations

from gitmachine.sync.machine import Machine, Process
from gitmachine.sync.owner import OwnerLoop, shared
from gitmachine.sync.session import GitMachine, SessionOptions

__all__ = ["GitMachine", "Machine", "OwnerLoop", "Process", "SessionOptions", "shared"]
