"""How do I start something long and fetch its result later, from another program?

python fire_and_forget.py start REPOSITORY     starts the work and ends; the machine goes on
python fire_and_forget.py finish               waits for the work, commits and pushes it
"""

import asyncio
import sys

from gitmachine import GitMachine, LocalMachine

WORK = "sleep 1; echo done > result.txt"


async def start(repository: str) -> None:
    gm = GitMachine(machine=LocalMachine(), repository=repository, session="long-task")
    await gm.start()
    work = await gm.spawn(WORK)
    await gm.write_file("../work.id", work.id, outside=True)  # in the machine, beside the checkout
    await gm.detach()  # lets go of the machine
    print("started")


async def finish() -> None:
    gm = await GitMachine.reopen("long-task")
    work = await gm.machine.process(await gm.read_file("../work.id", outside=True))
    result = await work.wait(timeout=60)
    print("exit code", result.exit_code)
    print((await gm.stop()).where)


if __name__ == "__main__":
    asyncio.run(start(sys.argv[2]) if sys.argv[1] == "start" else finish())

# It prints:
#
#     $ python fire_and_forget.py start REPOSITORY
#     started
#     $ python fire_and_forget.py finish
#     exit code 0
#     remote
