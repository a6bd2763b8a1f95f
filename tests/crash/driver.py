"""The program that is killed, and the one that recovers what it left: `python -m tests.crash.driver drive|recover`.

Arguments: the verb, the repository, the session. Standard output has a line for what has begun and one for what
has been acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from gitmachine import GitMachine, LocalMachine, MachineState, SessionNotFound
from gitmachine.errors import GitMachineError, MachineError
from tests.crash.script import COMMANDS, command
from tests.support.git_server import TOKEN


async def drive(repository: str, session: str) -> None:
    """All commands, with commits, pushes and pauses between them."""
    say("starting 0")
    gm = GitMachine(LocalMachine(), repository, TOKEN, session=session)
    await gm.start()
    say("started 0")
    for number in range(1, COMMANDS + 1):
        say(f"begun {number}")
        result = await gm.run(command(number))
        if result.exit_code != 0:
            raise AssertionError(f"command {number} failed: {result}")
        say(f"finished {number}")
        await between(gm, number)
    await gm.stop()
    say("stopped 0")


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
    verb, repository, session = sys.argv[1:]
    try:
        asyncio.run({"drive": drive, "recover": recover}[verb](repository, session))
    except (GitMachineError, OSError) as error:
        say(f"failed {type(error).__name__}")
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
