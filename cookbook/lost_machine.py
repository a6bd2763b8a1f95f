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
            print("not restored:", "; ".join(event.not_restored))
    print((await again.stop()).where)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
