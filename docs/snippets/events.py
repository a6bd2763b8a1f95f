"""Events as they come, and later: `python events.py REPOSITORY`."""

import asyncio
import sys

# --8<-- [start:events]
from typing import Any

from gitmachine import GitMachine, LocalMachine


def hear(event: str, data: dict[str, Any], gm: GitMachine) -> None:
    if event == "committed":
        print("heard:", data["message"])


async def main(repository: str) -> None:
    async with GitMachine(machine=LocalMachine(), repository=repository, on_event=hear) as gm:
        await gm.run("echo seen > seen.txt")
        await gm.commit("Be seen")
        for event in await gm.events(after=1):  # from the second one on; also in any later program
            print(event.seq, event.name, sorted(event.data()))


# --8<-- [end:events]
if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
