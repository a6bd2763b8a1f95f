"""How do I move from my own host to E2B? `python from_local_to_e2b.py REPOSITORY [e2b]`

The session is the same, and so is every call: only the machine is another. The second run goes on with the branch, and
with what was not committed, that the first one left.
"""

import asyncio
import sys
from typing import Any

from gitmachine import E2BMachine, GitMachine, LocalMachine, Machine


def machine(where: str) -> Machine:
    if where == "e2b":
        return E2BMachine(timeout=300)  # the key is E2B_API_KEY; a self-hosted E2B is named by E2B_DOMAIN
    return LocalMachine()


def show(event: str, data: dict[str, Any], gm: GitMachine) -> None:
    if event in ("started", "committed", "machine_lost", "recovered", "stopped"):
        print(f"[{event}]")


async def main(repository: str, where: str) -> None:
    gm = GitMachine(machine=machine(where), repository=repository, session="anywhere", on_event=show)
    await gm.start()
    await gm.run(f"echo 'written in a {gm.machine.capabilities.isolation}' >>places.txt")
    print(await gm.read_file("places.txt"), end="")
    await gm.commit(f"Work on {where}")
    await gm.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "local"))

# It prints:
#
#     $ python from_local_to_e2b.py REPOSITORY
#     [started]
#     written in a bubblewrap
#     [committed]
#     [stopped]
#     $ python from_local_to_e2b.py REPOSITORY e2b
#     [started]
#     written in a bubblewrap
#     written in a microvm
#     [committed]
#     [stopped]
