"""How do I work on many tasks, but on a few machines at a time? `python many_sessions.py REPOSITORY`

Each task is a session with a branch of its own; one that fails costs no other its work.
"""

import asyncio
import sys

from gitmachine import GitMachine, GitMachineError, Limits, LocalMachine

AT_ONCE = 2
TASKS = {
    "greet-world": "echo world >> hello.txt",
    "greet-moon": "echo moon >> hello.txt",
    "look-only": "cat hello.txt",
    "fails": "echo tried > tried.txt; exit 1",
}


async def work(repository: str, name: str, command: str, turn: asyncio.Semaphore) -> str:
    limits = Limits(memory_bytes=512 << 20, processes=64)  # of each machine
    gm = GitMachine(machine=LocalMachine(limits=limits), repository=repository, session=name)
    async with turn:
        try:
            await gm.start()
            result = await gm.run(command, timeout=60)
            outcome = await gm.stop()
        except GitMachineError as error:
            return f"{name}: {error}"
    return f"{name}: exit code {result.exit_code}, {outcome.where}"


async def main(repository: str) -> None:
    turn = asyncio.Semaphore(AT_ONCE)
    for line in await asyncio.gather(*(work(repository, *task, turn) for task in TASKS.items())):
        print(line)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python many_sessions.py REPOSITORY
#     greet-world: exit code 0, remote
#     greet-moon: exit code 0, remote
#     look-only: exit code 0, nothing
#     fails: exit code 1, remote
