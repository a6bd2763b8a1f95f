"""How do I see what an agent did, and undo a part of it? `python undo.py REPOSITORY`"""

import asyncio
import sys

from gitmachine import GitMachine, LocalMachine


async def main(repository: str) -> None:
    async with GitMachine(machine=LocalMachine(), repository=repository, session="undone") as gm:
        await gm.run("printf 'plan\\nbuild\\n' > notes.txt")
        await gm.run("echo test >> notes.txt")
        await gm.run("rm -r notes.txt src hello.txt")  # not what was wanted
        for entry in await gm.history():
            print(entry.number, f"exit {entry.exit_code}", entry.changed, "changed:", entry.command)
        await gm.rewind(2)  # an entry of its own: rewind(3) would bring the mistake back
        for line in await gm.blame("notes.txt"):
            print(f"#{line.number}", line.text)
        print(await gm.diff(1, stat=True))
        print("intact" if (await gm.verify()).ok else "altered")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python undo.py REPOSITORY
#     1 exit 0 1 changed: printf 'plan\nbuild\n' > notes.txt
#     2 exit 0 1 changed: echo test >> notes.txt
#     3 exit 0 3 changed: rm -r notes.txt src hello.txt
#     #1 plan
#     #1 build
#     #2 test
#      notes.txt | 1 +
#      1 file changed, 1 insertion(+)
#
#     intact
