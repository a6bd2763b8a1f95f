"""How do I start work, go away, and come back from another program?

python fire_and_forget.py start REPOSITORY     prints the machine's id and ends
python fire_and_forget.py finish MACHINE-ID    waits for the work, commits and pushes it
"""

import asyncio
import sys

from gitmachine import GitMachine, LocalMachine

WORK = "sleep 1; echo done > result.txt"


async def start(repository: str) -> None:
    gm = GitMachine(machine=LocalMachine(), repository=repository, session="long-task")
    await gm.start()
    work = await gm.spawn(WORK)
    await gm.write_file("../work.id", work.id, outside=True)
    print(gm.id)
    await gm.detach()  # lets go of the machine; it goes on without us


async def finish(machine_id: str) -> None:
    gm = await GitMachine.connect(await LocalMachine.connect(machine_id))
    work = await gm.machine.process(await gm.read_file("../work.id", outside=True))
    result = await work.wait(timeout=60)
    print("exit", result.exit_code)
    outcome = await gm.stop()
    print("pushed" if outcome.where == "remote" else outcome)


if __name__ == "__main__":
    asyncio.run({"start": start, "finish": finish}[sys.argv[1]](sys.argv[2]))
