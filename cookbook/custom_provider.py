"""How do I bring my own sandbox? Write ten members. `python custom_provider.py REPOSITORY`

This one has no wall: plain processes in a temporary directory. `custom_provider_test.py` says what it owes and lacks.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from custom_provider_command import ShellCommand, changed, end_all
from gitmachine import ExecuteOptions, ExecutionResult, GitMachine, Machine, MachineState
from gitmachine.machines.command import collect


class DirectoryMachine(Machine):
    id: str | None = None
    state: MachineState = MachineState.IDLE

    async def start(self) -> None:
        self.state = changed(self.state, MachineState.IDLE, MachineState.RUNNING)
        self.id = tempfile.mkdtemp(prefix="plain-")

    async def pause(self) -> None:  # processes run on, which is a deviation
        self.state = changed(self.state, MachineState.RUNNING, MachineState.PAUSED)

    async def resume(self) -> None:
        self.state = changed(self.state, MachineState.PAUSED, MachineState.RUNNING)

    async def stop(self) -> None:
        self.state = MachineState.STOPPED
        await asyncio.to_thread(end_all, self.id)

    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        options = options or ExecuteOptions()
        return await collect(await ShellCommand.begin(command, self._place(), options), options)

    async def read_file(self, path: str) -> str:
        return self._place(path).read_bytes().decode()

    async def write_file(self, path: str, content: str | bytes) -> None:
        self._place(path).parent.mkdir(parents=True, exist_ok=True)
        self._place(path).write_bytes(content.encode() if isinstance(content, str) else content)

    async def list_files(self, path: str) -> list[str]:
        return sorted(entry.name for entry in self._place(path).iterdir())

    def _place(self, path: str = "") -> Path:
        changed(self.state, MachineState.RUNNING, MachineState.RUNNING)
        return Path(str(self.id), path)


async def main(repository: str) -> None:
    async with GitMachine(machine=DirectoryMachine(), repository=repository, session="anywhere") as gm:
        print((await gm.run("echo from a provider of ten members | tee mine.txt")).stdout.strip())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

# It prints:
#
#     $ python custom_provider.py REPOSITORY
#     from a provider of ten members
