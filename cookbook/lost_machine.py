"""What if the machine dies under me? `python lost_machine.py REPOSITORY`"""

import asyncio
import sys

from gitmachine import GitMachine, LocalMachine
from gitmachine.events import Recovered


async def main(repository: str) -> None:
    gm = GitMachine(machine=LocalMachine(), repository=repository, session="survivor")
    await gm.start()
    await gm.run("echo precious > work.txt")
    await (await LocalMachine.connect(str(gm.id))).stop()  # somebody ends it behind our back, with all its files

    again = await GitMachine.reopen("survivor", machine=LocalMachine())  # any provider, any program on this host
    print((await again.run("cat work.txt")).stdout.strip())
    for event in await again.events():
        if isinstance(event, Recovered):
            print("not restored:", *event.not_restored, sep="\n  ")
    print((await again.stop()).where)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python lost_machine.py REPOSITORY
#     precious
#     not restored:
#       processes that ran in the machine
#       files outside the checkout
#       ignored files in the checkout
#       what was staged: the index is that of the session branch
#       tags, reflogs, hooks and configuration that were made in the machine's repository, and a merge in progress
#       what was written after checkpoint 1
#     remote
