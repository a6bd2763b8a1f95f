"""What is left when my program is killed in the middle of a session?

python after_a_crash.py work REPOSITORY     works, and is killed while it does
python after_a_crash.py recover             any later program goes on: with the machine if it is alive, else without
"""

import asyncio
import os
import signal
import sys

from gitmachine import GitMachine, LocalMachine


async def work(repository: str) -> None:
    gm = GitMachine(machine=LocalMachine(), repository=repository, session="unlucky")
    await gm.start()
    await gm.run("echo first > work.txt")
    await gm.run("echo second >> work.txt")
    print("two commands, nothing committed", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)  # no `finally` runs, no `async with` ends


async def recover() -> None:
    gm = await GitMachine.reopen("unlucky", machine=LocalMachine())  # the new machine is used if the old one is gone
    for entry in await gm.history():
        print(entry.number, f"exit {entry.exit_code}", entry.command)
    print((await gm.run("cat work.txt")).stdout.split())
    print("committed", await gm.commit("Work that outlived its program"))
    print((await gm.stop()).where)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[2]) if sys.argv[1] == "work" else recover())

# It prints:
#
#     $ python after_a_crash.py work REPOSITORY
#     two commands, nothing committed
#     Killed
#     $ python after_a_crash.py recover
#     1 exit 0 echo first > work.txt
#     2 exit 0 echo second >> work.txt
#     ['first', 'second']
#     committed 63a9c152b01126ee383a50e7b1b4d9d099bf1c31
#     remote
