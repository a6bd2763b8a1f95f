"""How do I stop paying for a machine without losing what runs in it? `python pause_and_come_back.py REPOSITORY`"""

import asyncio
import sys

from gitmachine import GitMachine, LocalMachine

COUNT = 'n=0; while :; do n=$((n+1)); echo "$n" > ../count; sleep 0.05; done'


async def main(repository: str) -> None:
    gm = GitMachine(machine=LocalMachine(), repository=repository, session="patient")
    await gm.start()
    counter = await gm.spawn(COUNT)  # holds its number in memory only
    await gm.run("until [ -s ../count ]; do sleep 0.05; done; echo work > work.txt", timeout=60)
    await gm.pause()  # commits, then freezes every process with its memory
    print(gm.state)

    found = await GitMachine.reopen("patient")  # any program on this host may do this
    await found.resume()
    before = int((await found.run("cat ../count")).stdout)
    await found.run(f"until [ $(cat ../count) -gt {before} ]; do sleep 0.05; done", timeout=60)
    print(found.state, "and still counting")
    await counter.kill()
    print((await found.stop()).where)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
