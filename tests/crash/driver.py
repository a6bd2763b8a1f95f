"""The programs of the crash tests: `python -m tests.crash.driver VERB REPOSITORY SESSION …`.

`drive` is killed, `recover` goes on with what it left; `own` and `share` are run ten at a time. Standard output has a
line for what has begun and one for what has been acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import posixpath
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from gitmachine import ExecutionResult, GitMachine, LocalMachine, MachineState, SessionNotFound, settings
from gitmachine.errors import GitMachineError, MachineError
from gitmachine.git.names import session_ref
from gitmachine.git.vault import Vault
from tests.crash.script import command
from tests.support.git_server import TOKEN


async def drive(repository: str, session: str, commands: str, moment: str, at: str) -> None:
    """The commands up to that number, with commits, pushes and pauses between them.

    At the moment before or in the command `at` it is "held", and goes on at a line on standard input.
    """
    say("starting 0")
    gm = GitMachine(LocalMachine(), repository, TOKEN, session=session)
    await gm.start()
    say("started 0")
    for number in range(1, int(commands) + 1):
        here = number == int(at)
        if here and moment in ("between", "moving"):
            await held()
        say(f"begun {number}")
        result = await (running(gm, number) if here and moment == "running" else gm.run(command(number)))
        if result.exit_code != 0:
            raise MachineError(f"command {number} failed: {result}")  # on a full disk, for one
        say(f"finished {number}")
        await between(gm, number)
    await gm.stop()
    say("stopped 0")


async def held() -> None:
    say("held 0")
    await asyncio.to_thread(sys.stdin.readline)


async def running(gm: GitMachine, number: int) -> ExecutionResult:
    """The command, which has done its work and does not end yet while we are held."""
    ready = asyncio.Event()
    waiting = f"{command(number)} && echo ready && until [ -e ../go ]; do sleep 0.02; done"
    run = asyncio.ensure_future(gm.run(waiting, on_stdout=lambda text: ready.set()))
    try:
        await ready.wait()
        await held()
        await gm.machine.write_file(f"{posixpath.dirname(gm.path)}/go", "")
        return await run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def between(gm: GitMachine, number: int) -> None:
    if number % 8 == 0:
        await gm.commit(f"after {number}")
    if number % 12 == 0:
        await gm.push()
    if number % 9 == 0:
        await gm.pause()
        await gm.resume()


async def recover(repository: str, session: str) -> None:
    """Goes on with the session on its machine or on a new one, and ends it: a second commit proves that it works."""
    began = time.monotonic()
    gm = await reopened(repository, session)
    await gm.status()  # which brings into the vault what is there
    seconds = time.monotonic() - began
    say(json.dumps({"seconds": seconds, "id": gm.record.id, "machine": gm.id}))
    sys.stdin.readline()  # the parent has looked
    result = await gm.run("printf 'alive\\n' > alive.txt")
    if result.exit_code != 0:
        raise AssertionError(f"the recovered session does not work: {result}")
    outcome = await gm.stop()
    say(json.dumps({"where": outcome.where, "sha": outcome.sha}))


async def own(repository: str, session: str, number: str, commands: str) -> None:
    """A session of its own from start to stop."""
    gm = GitMachine(LocalMachine(), repository, TOKEN, session=session)
    await gm.start()
    longest, missing = await _work(gm, number, int(commands))
    await gm.stop()
    say(json.dumps({"longest_s": longest, "missing": missing}))


async def share(repository: str, session: str, number: str, commands: str) -> None:
    """A session that others drive at the same time."""
    del repository
    gm = await GitMachine.reopen(session, TOKEN)
    longest, missing = await _work(gm, number, int(commands))
    await gm.detach()
    say(json.dumps({"longest_s": longest, "missing": missing}))


async def _work(gm: GitMachine, number: str, commands: int) -> tuple[float, list[str]]:
    """The longest wait for a command, and what was not in the vault when its command had returned."""
    longest, missing = 0.0, []
    for n in range(commands):
        began = time.monotonic()
        name = f"p{number}-{n}.txt"
        result = await gm.run(f"echo {n} > {name}")
        longest = max(longest, time.monotonic() - began)
        vault = await Vault.open(settings.load(), None, gm.record.vault)
        (files,) = (await vault.refs(session_ref(gm.record.id, "files"))).values()
        if result.exit_code != 0 or name.encode() not in {c.path for c in await vault.changes(None, files)}:
            missing.append(name)
    return longest, missing


async def reopened(repository: str, session: str) -> GitMachine:
    try:
        gm = await GitMachine.reopen(session, TOKEN)
    except (MachineError, SessionNotFound):
        gm = GitMachine(LocalMachine(), repository, TOKEN, session=session)
        await gm.start()
        return gm
    if gm.state is MachineState.PAUSED:
        await gm.resume()
    return gm


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    verb, *arguments = sys.argv[1:]
    verbs: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "drive": drive, "recover": recover, "own": own, "share": share,
    }  # fmt: skip
    try:
        asyncio.run(verbs[verb](*arguments))
    except (GitMachineError, OSError) as error:
        say(f"failed {type(error).__name__}")
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
