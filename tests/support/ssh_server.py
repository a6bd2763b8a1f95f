"""An ssh server on the loopback that starts one program, whatever is asked for: `python -m … DIRECTORY PROGRAM…`.

DIRECTORY has `host_key` and `allowed`, a public key; it prints its port. A process of its own, as such a server is.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import asyncssh


async def main(directory: str, program: list[str]) -> None:
    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            try:
                await process.redirect(stdin=child.stdin, stdout=child.stdout)
                await process.wait_closed()
            finally:
                child.kill()

    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[f"{directory}/host_key"], authorized_client_keys=f"{directory}/allowed",
        process_factory=handle, encoding=None,
    )  # fmt: skip
    print(server.get_port(), flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
