"""How do I see what happens, as it happens? `python watch_events.py REPOSITORY`"""

import asyncio
import sys

from gitmachine import Event, GitMachine, LocalMachine
from gitmachine.events import CommandFinished, Committed, Pushed


def describe(event: Event) -> str:
    match event:
        case CommandFinished(number=number, exit_code=exit_code, duration=duration):
            return f"command {number} ended with {exit_code} after {duration:.2f} s"
        case Committed(sha=sha, message=message):
            return f"{message!r} is {sha[:10]}"
        case Pushed(branch=branch):
            return f"the remote has {branch}"
        case _:
            return event.name


async def watch(gm: GitMachine) -> None:
    async for event in gm.watch():  # from the first event on; ends when the session has stopped
        print(f"{event.seq:>3} {describe(event)}")


async def main(repository: str) -> None:
    gm = GitMachine(machine=LocalMachine(), repository=repository, session="watched")
    await gm.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(gm))
        await gm.run("echo seen > watched.txt")
        await gm.commit("Be seen")
        await gm.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python watch_events.py REPOSITORY
#       1 started
#       2 command_started
#       3 checkpointed
#       4 command 1 ended with 0 after 0.01 s
#       5 'Be seen' is ea22b39481
#       6 the remote has watched
#       7 stopping
#       8 stopped
