"""How do I stop paying for a machine without losing what runs in it?

python pause_and_come_back.py leave REPOSITORY     starts a counter, pauses the machine and ends
python pause_and_come_back.py return               another process: the counter goes on where it was
"""

import asyncio
import sys

from gitmachine import GitMachine, LocalMachine

COUNT = 'n=0; while :; do n=$((n+1)); echo "$n" > ../count; sleep 0.05; done'  # holds its number in memory only


async def leave(repository: str) -> None:
    gm = GitMachine(machine=LocalMachine(), repository=repository, session="patient")
    await gm.start()
    await gm.spawn(COUNT)
    await gm.run("until [ -s ../count ]; do sleep 0.05; done; echo work > work.txt", timeout=60)
    await gm.pause()  # commits, then freezes every process with its memory
    print(gm.state)
    await gm.detach()


async def come_back() -> None:
    gm = await GitMachine.reopen("patient")  # by its name; on this host any program may do this
    print(gm.state)
    await gm.resume()
    before = int((await gm.run("cat ../count")).stdout)
    await gm.run(f"until [ $(cat ../count) -gt {before} ]; do sleep 0.05; done", timeout=60)
    print(gm.state, "and still counting")
    print((await gm.stop()).where)


if __name__ == "__main__":
    asyncio.run(leave(sys.argv[2]) if sys.argv[1] == "leave" else come_back())

# It prints:
#
#     $ python pause_and_come_back.py leave REPOSITORY
#     paused
#     $ python pause_and_come_back.py return
#     paused
#     running and still counting
#     remote
