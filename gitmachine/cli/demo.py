"""`gitmachine demo`: a session from start to stop, shown as it happens. It needs no network and leaves nothing.

The repository is this project's own when it runs from a checkout, else a small one made for it. What the demo
claims it also checks: it ends with 1 when the machine could reach what it must not.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from gitmachine.cli.demo_place import demo_place, git, make_remote
from gitmachine.cli.exits import Exit
from gitmachine.cli.screen import Screen
from gitmachine.errors import MachineError
from gitmachine.git_machine import GitMachine
from gitmachine.machines.local import LocalMachine

SESSION = "demo"
_COUNTER = 'n=0; while :; do n=$((n+1)); echo "$n" > ~/count.new; mv ~/count.new ~/count; sleep 0.05; done'
_FROZEN_S = 1.5
_LOOKS_S = 10.0

_READ_SOURCES = """\
git ls-files '*.py' | sort | head -n 5 | while read -r file; do
    printf '%6d lines  %s\\n' "$(wc -l < "$file")" "$file"
    sleep 0.2
done
printf 'Written in a sandbox.\\n' > DEMO.md
"""
_REACH = """\
import socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
except OSError as error:
    sys.exit(f"no connection: {error}")
print("connected")
"""


async def demo() -> int:
    """The whole of it; 0 when everything was as claimed."""
    started = time.monotonic()
    screen = Screen(stderr=False)
    async with demo_place() as place:
        screen.heading("A repository, and its remote")
        remote = await make_remote(place)
        screen.note(f"{remote.what} → {remote.path}")
        gm = GitMachine(LocalMachine(), str(remote.path), session=SESSION, on_event=screen.event)
        screen.heading("A machine with the repository in it, on a branch of its own")
        async with gm:
            await _work(gm, screen)
            await _freeze(gm, screen)
            safe = await _refusals(gm, screen)
            screen.heading("Stop: what is left is committed and pushed, and the machine goes")
        screen.heading("What the remote has now: git log --graph --all")
        screen.indented(await git("log", "--graph", "--all", "--oneline", "--decorate", "-n", "8", cwd=remote.path))
    screen.heading(f"{time.monotonic() - started:.1f} s; nothing is left of it on this host")
    return 0 if safe else Exit.NOT_USABLE


async def _work(gm: GitMachine, screen: Screen) -> None:
    screen.heading("A command, its output as it comes")
    await gm.run(_READ_SOURCES, on_stdout=screen.indented)
    screen.heading("What it changed")
    screen.indented(await gm.diff())
    screen.heading("On the branch with it")
    await gm.commit("Write down where this was written")
    await gm.push()


async def _freeze(gm: GitMachine, screen: Screen) -> None:
    screen.heading("Pause and resume: a process that counts keeps its memory")
    counter = await gm.spawn(_COUNTER)
    beside = await gm.machine.observer(".")
    if beside is None:
        raise MachineError("this machine cannot be looked at while it is paused")
    await _count(gm, above=5)
    await gm.pause()
    before = await _frozen_count(gm)
    await asyncio.sleep(_FROZEN_S)
    after = await _frozen_count(gm)
    screen.note(f"paused at {before}; {_FROZEN_S:g} s later it is at {after}")
    if before != after:
        raise MachineError(f"the counter went from {before} to {after} while the machine was paused")
    await gm.resume()
    screen.note(f"resumed; it has gone on to {await _count(gm, above=after)}")
    await counter.kill()


async def _frozen_count(gm: GitMachine) -> int:
    """The counter's file, seen from beside the machine, which is paused."""
    beside = await gm.machine.observer(".")
    assert beside is not None
    return int(await beside.read_bytes(f"{beside.work_tree}/count"))


async def _count(gm: GitMachine, above: int) -> int:
    """The counter's value, once it is greater than `above`."""
    deadline = time.monotonic() + _LOOKS_S
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            if (value := int(await gm.read_file("../count", outside=True))) > above:
                return value
    raise MachineError(f"the counter did not get beyond {above} within {_LOOKS_S:g} s")


async def _refusals(gm: GitMachine, screen: Screen) -> bool:
    screen.heading("What it cannot do: read this host's home, reach a listener on this host's loopback")
    with _secret_at_home() as (path, secret):
        result = await gm.run(f"cat -- {shlex.quote(str(path))}")
        screen.indented(result.stdout + result.stderr)
        unread = not result.ok and secret not in result.stdout
    await gm.write_file(".git/reach.py", _REACH)
    async with _listener() as (port, visitors):
        (await asyncio.open_connection("127.0.0.1", port))[1].close()  # from here it can be reached
        result = await gm.run(f"python3 .git/reach.py {port}")
        screen.indented(result.stdout + result.stderr)
        unreached = not result.ok and len(visitors) <= 1
    for refused, what in ((unread, "this host's home"), (unreached, "this host's loopback")):
        if not refused:
            screen.warn(f"the machine could reach {what}: do not use it for untrusted code here")
    return unread and unreached


@contextmanager
def _secret_at_home() -> Iterator[tuple[Path, str]]:
    """A file in the user's home for as long as it takes to see that the machine cannot read it."""
    secret = os.urandom(16).hex()
    home = Path.home()
    where = home if os.access(home, os.W_OK) else Path(tempfile.gettempdir())
    with tempfile.NamedTemporaryFile("w", dir=where, prefix=".gitmachine-demo-") as file:
        file.write(secret)
        file.flush()
        yield Path(file.name), secret


@asynccontextmanager
async def _listener() -> AsyncIterator[tuple[int, list[object]]]:
    """A TCP listener on this host's loopback, and who came."""
    visitors: list[object] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        visitors.append(writer)
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], visitors
