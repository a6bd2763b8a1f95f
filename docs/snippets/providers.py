"""One session on any provider: `python providers.py REPOSITORY`."""

import asyncio
import sys

# --8<-- [start:machines]
from gitmachine import DockerMachine, E2BMachine, GitMachine, Limits, LocalMachine, Machine

MACHINES: dict[str, Machine] = {
    "a sandbox on this host": LocalMachine(),
    "with bounds, and two hosts to reach": LocalMachine(
        network=["pypi.org", "files.pythonhosted.org"], limits=Limits(memory_bytes=1 << 30, lifetime_s=7200)
    ),
    "a container": DockerMachine("python:3.12-slim", memory="1g", network="bridge"),
    "a micro-VM at E2B": E2BMachine(api_key="your key, by default E2B_API_KEY", timeout=600),
}
# --8<-- [end:machines]


async def main(repository: str) -> None:
    machine = MACHINES["with bounds, and two hosts to reach"]
    # --8<-- [start:ask]
    async with GitMachine(machine=machine, repository=repository) as gm:
        print(gm.machine.capabilities.isolation, gm.machine.capabilities.network)
        result = await gm.run("curl -sS http://example.org")
        print(*result.notices, sep="\n")
    # --8<-- [end:ask]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
