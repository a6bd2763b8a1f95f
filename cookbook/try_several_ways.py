"""How do I try several ways from one point and keep the best? `python try_several_ways.py REPOSITORY`"""

import asyncio
import sys

from gitmachine import GitMachine, LocalMachine
from gitmachine.forking import compare

WAYS = ("s/hello/hi/", "s/hello/good day/", "s/hello/greetings/")


async def main(repository: str) -> None:
    async with GitMachine(machine=LocalMachine(), repository=repository, session="ways") as gm:
        await gm.run("echo 'a greeting of two words' > wanted.txt")  # not committed; the forks have it all the same
        forks = await gm.forks("way", len(WAYS))
        for fork, way in zip(forks, WAYS, strict=True):
            await fork.run(f"sed -i '{way}' hello.txt")
        found = await compare(forks, check="test $(wc -w < hello.txt) = 2")
        for row in found:
            print(row.session, f"exit {row.exit_code}", f"+{row.insertions} -{row.deletions}")
        for fork, row in zip(forks, found, strict=True):
            await fork.stop(push=row.exit_code == 0)  # what is not pushed stays in the vault


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python try_several_ways.py REPOSITORY
#     way-1 exit 1 +1 -1
#     way-2 exit 0 +1 -1
#     way-3 exit 1 +1 -1
