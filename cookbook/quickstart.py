"""How do I run something on a repository and get a branch? `python quickstart.py REPOSITORY`"""

import asyncio
import sys

from gitmachine import GitMachine, LocalMachine


async def main(repository: str) -> None:
    async with GitMachine(machine=LocalMachine(), repository=repository, session="fix-greeting") as gm:
        await gm.run("sed -i s/hello/goodbye/ hello.txt")
        print(await gm.diff())
        result = await gm.run("grep -c goodbye hello.txt", timeout=60)
        print("exit", result.exit_code, "stdout", result.stdout.strip())
        print("committed", await gm.commit("Say goodbye"))
    # The branch fix-greeting is pushed and the machine is gone.


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python quickstart.py REPOSITORY
#     diff --git a/hello.txt b/hello.txt
#     index ce01362..dd7e1c6 100644
#     --- a/hello.txt
#     +++ b/hello.txt
#     @@ -1 +1 @@
#     -hello
#     +goodbye
#
#     exit 0 stdout 1
#     committed ddde3c8fdf3e8e1e0150284255b1bbc8c9c7c2e5
