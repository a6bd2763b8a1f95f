"""How do I get an agent's work into my own checkout, without running any of it? `python bring_it_home.py CHECKOUT`"""

import asyncio
import sys
from pathlib import Path

from gitmachine import GitMachine, LocalMachine
from gitmachine.homecoming import apply, checkout


async def main(repository: str) -> None:
    home = Path(repository)
    async with GitMachine(machine=LocalMachine(), repository=repository, session="handy") as gm:
        await gm.run("printf 'all:\\n\\techo hi\\n' > Makefile; echo key > .env; echo work > work.txt")
    brought = await apply(home, "handy")  # as changes that are not committed; yours must be committed before
    print("changed:", *(path.decode() for path in brought.changed))
    print("kept out:", *(item.path.decode() for item in brought.withheld))
    print("look first:", *(f"{item.path.decode()} ({item.reason})" for item in brought.look_first))
    undo = await asyncio.create_subprocess_exec("git", "-C", repository, "reset", "--quiet", "--hard")
    await undo.wait()
    brought = await checkout(home, "handy", branch="theirs")  # or the commits, as a branch; `merge` merges them
    print("on branch theirs at", brought.head)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python bring_it_home.py CHECKOUT
#     changed: Makefile work.txt
#     kept out: .env
#     look first: Makefile (building, testing or installing runs it)
#     on branch theirs at fee646fdc273b261800094cc89f2aeadc3e2af15
