"""The files of a session's checkout, by paths relative to it."""

from __future__ import annotations

import asyncio
import posixpath
import shlex
from abc import ABC, abstractmethod
from pathlib import Path

from gitmachine.errors import FileError
from gitmachine.machine import Machine


class SessionFiles(ABC):
    """File calls of a GitMachine. A path that leads out of the checkout is refused unless `outside` allows it.

    Whoever writes through these calls must not be surprised by a link that the agent made: links are followed
    before the decision.
    """

    @property
    @abstractmethod
    def path(self) -> str:
        """The checkout's absolute path in the machine."""

    @abstractmethod
    def _usable_machine(self, call: str) -> Machine:
        """The machine, when it is running. Raises StateError."""

    async def read_file(self, path: str, *, outside: bool = False) -> str:
        """A file as text. Raises FileNotFoundError, IsADirectoryError, FileError."""
        return await self._usable_machine("read_file()").read_file(await self._inside(path, outside))

    async def read_bytes(self, path: str, *, outside: bool = False) -> bytes:
        """A file as bytes. Raises as `read_file`."""
        return await self._usable_machine("read_bytes()").read_bytes(await self._inside(path, outside))

    async def write_file(self, path: str, content: str | bytes, *, outside: bool = False) -> None:
        """Writes a file whole, making the directories above it. Raises FileError."""
        await self._usable_machine("write_file()").write_file(await self._inside(path, outside), content)

    async def edit_file(self, path: str, old: str, new: str, *, outside: bool = False) -> None:
        """Replaces the one occurrence of `old` in a file. Raises FileError unless there is exactly one."""
        target = await self._inside(path, outside)
        machine = self._usable_machine("edit_file()")
        try:
            text = (await machine.read_bytes(target)).decode()
        except UnicodeDecodeError as error:
            raise FileError(f"{path!r} is not UTF-8 text ({error}): edit it by a command") from error
        count = text.count(old) if old else 0
        if count != 1:
            advice = "give more of the lines around it" if count else "read the file again and give the text as it is"
            raise FileError(f"{path!r} has the text to replace {count} times, not once: {advice}")
        await machine.write_file(target, text.replace(old, new))

    async def list_files(self, path: str = ".", *, outside: bool = False) -> list[str]:
        """The names in a directory, sorted. Raises FileNotFoundError, NotADirectoryError."""
        return await self._usable_machine("list_files()").list_files(await self._inside(path, outside))

    async def upload(self, local: str | Path, path: str, *, outside: bool = False) -> None:
        """Copies a file of the host into the checkout."""
        content = await asyncio.to_thread(Path(local).read_bytes)
        await self.write_file(path, content, outside=outside)

    async def download(self, path: str, local: str | Path, *, outside: bool = False) -> None:
        """Copies a file of the checkout to the host. Only bytes cross: no mode, no link."""
        content = await self.read_bytes(path, outside=outside)
        await asyncio.to_thread(Path(local).write_bytes, content)

    async def _inside(self, path: str, outside: bool) -> str:
        target = posixpath.normpath(posixpath.join(self.path, path))
        if outside:
            return target
        machine = self._usable_machine("a file call")
        result = await machine.execute(f"realpath -m -- {shlex.quote(self.path)} {shlex.quote(target)}")
        root, _, real = result.stdout.rstrip("\n").partition("\n")
        if result.exit_code != 0 or (real != root and not real.startswith(f"{root}/")):
            raise FileError(
                f"{path!r} leads out of the checkout {self.path}, and file calls stay in it: a command can reach it, "
                "in a program also outside=True"
            )
        return target
