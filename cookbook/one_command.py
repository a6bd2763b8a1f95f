"""How do I run one command on a repository where it can do no harm? `python one_command.py REPOSITORY`"""

import asyncio
import sys

from gitmachine import GitMachine, LocalMachine


async def main(repository: str) -> None:
    async with GitMachine(machine=LocalMachine(), repository=repository) as gm:
        result = await gm.run("ls; cat missing.txt; exit 3", timeout=60)
    print("exit code", result.exit_code)  # an exit code is a result; only the machine's own failure is an exception
    print("stdout", result.stdout.split())
    print("stderr", result.stderr.strip())
    # Nothing was changed, so there is no new branch.


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python one_command.py REPOSITORY
#     exit code 3
#     stdout ['hello.txt', 'src']
#     stderr cat: missing.txt: No such file or directory
