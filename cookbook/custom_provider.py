"""How do I bring my own sandbox? Write ten members. `python custom_provider.py REPOSITORY`

This one has no wall at all: plain subprocesses in a temporary directory. `gitmachine.testing` says what more is owed.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from gitmachine import ExecuteOptions, ExecutionResult, GitMachine, Machine, MachineState


class DirectoryMachine(Machine):
    id: str | None = None
    state: MachineState = MachineState.IDLE

    async def start(self) -> None:
        self.id, self.state = tempfile.mkdtemp(), MachineState.RUNNING

    async def pause(self) -> None:
        self.state = MachineState.PAUSED

    async def resume(self) -> None:
        self.state = MachineState.RUNNING

    async def stop(self) -> None:
        self.state = MachineState.STOPPED
        shutil.rmtree(self.id or "", ignore_errors=True)

    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        options = options or ExecuteOptions()
        limit = ["timeout", "--signal=KILL", str(options.timeout)] if options.timeout else []
        stdin, pipe = options.stdin or b"", asyncio.subprocess.PIPE
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.id), **options.env}
        cwd = self._path(options.cwd or "")
        argv = [*limit, "sh", "-c", command]
        process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd=cwd)
        output = await process.communicate(stdin.encode() if isinstance(stdin, str) else stdin)
        out, err = (data.decode(errors="replace") for data in output)
        code, killed = process.returncode or 0, bool(limit) and process.returncode in (-9, 137)
        return ExecutionResult(124 if killed else code if code >= 0 else 128 - code, out, err, timed_out=killed)

    async def read_file(self, path: str) -> str:
        return self._path(path).read_text()

    async def write_file(self, path: str, content: str | bytes) -> None:
        self._path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path(path).write_bytes(content.encode() if isinstance(content, str) else content)

    async def list_files(self, path: str) -> list[str]:
        return sorted(entry.name for entry in self._path(path).iterdir())

    def _path(self, path: str) -> Path:
        return Path(str(self.id), path)


async def main(repository: str) -> None:
    async with GitMachine(machine=DirectoryMachine(), repository=repository, session="anywhere") as gm:
        await gm.run("echo from a provider of ten members > mine.txt")
        print((await gm.run("cat mine.txt")).stdout.strip())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
