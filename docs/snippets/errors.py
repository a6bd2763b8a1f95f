"""What to do about errors: `python errors.py REPOSITORY`."""

import asyncio
import sys

# --8<-- [start:errors]
from gitmachine import GitMachine, GitMachineError, LocalMachine, PushHeld, PushRejected


async def main(repository: str) -> None:
    gm = GitMachine(machine=LocalMachine(), repository=repository, session="careful")
    await gm.start()
    await gm.run("mkdir -p .github/workflows; echo 'on: push' > .github/workflows/ci.yml")
    try:
        await gm.stop()
    except (PushRejected, PushHeld) as error:  # the machine stays; the outcome says where the work is
        print(error.outcome.where, *error.outcome.held)
        print((await gm.push(allow=error.outcome.held)).where)  # or leave it in the vault: stop(push=False)
        await gm.stop()
    except GitMachineError as error:
        print("worth another try:", error.retryable)
        raise


# --8<-- [end:errors]
if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
