"""What can a command not do? `python refusals.py REPOSITORY` shows three refusals."""

import asyncio
import sys
from pathlib import Path

from gitmachine import GitMachine, LocalMachine

ATTEMPTS = (
    f"ls {Path.home() / '.ssh'}",
    "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 22), timeout=5)' 2>&1 | tail -n 1; exit 1",
    "touch /usr/bin/mine",
)


async def main(repository: str) -> None:
    async with GitMachine(machine=LocalMachine(), repository=repository) as gm:
        for attempt in ATTEMPTS:
            result = await gm.run(attempt)
            print(f"$ {attempt[:40]}\n  exit {result.exit_code}: {(result.stderr or result.stdout).strip()}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python refusals.py REPOSITORY
#     $ ls /home/alice/.ssh
#       exit 2: ls: cannot access '/home/alice/.ssh': No such file or directory
#     $ python3 -c 'import socket; socket.create
#       exit 1: ConnectionRefusedError: [Errno 111] Connection refused
#     $ touch /usr/bin/mine
#       exit 1: touch: cannot touch '/usr/bin/mine': Read-only file system
