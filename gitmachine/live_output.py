"""What a running command has written so far, for other programs to follow.

    <session>/live/<call>.txt      stdout and stderr as they came, there while the command runs

The history has the output when the command has ended, and the file goes. Who writes it holds a lock on it: a file
that nobody holds was left by a program that was killed.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from io import FileIO
from pathlib import Path

from gitmachine.git.remote import redact
from gitmachine.types import ExecuteOptions, OutputCallback

log = logging.getLogger(__name__)

KEPT_BYTES = 4 * 1024 * 1024
"""Of one command. What comes after is in the command's result, and in the history."""

_WORTH_A_FILE_S = 0.1
"""A command that has ended before needs none: most have, and pay nothing for this."""
_PAUSE_S = 0.05
_PIECE_BYTES = 64 * 1024


class LiveOutput:
    """Writes the file of one command. Secrets are taken out, also those that come in pieces."""

    def __init__(self, path: Path, secrets: Iterable[str]) -> None:
        self._path = path
        self._secrets = tuple(secret for secret in secrets if secret)
        self._waiting: list[str] = []
        self._held = ""
        self._seen = 0
        self._news = asyncio.Event()
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def attach(self, options: ExecuteOptions) -> ExecuteOptions:
        """The options with this in front of their callbacks."""
        return options.with_(on_stdout=self._before(options.on_stdout), on_stderr=self._before(options.on_stderr))

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """While the command runs. What goes wrong with the file is no concern of the command's."""
        later = asyncio.get_running_loop().call_later(_WORTH_A_FILE_S, self._begin)
        try:
            yield
        finally:
            later.cancel()
            if self._task is not None:
                self._ended.set()
                self._news.set()
                await asyncio.shield(self._task)

    def _before(self, callback: OutputCallback | None) -> OutputCallback:
        def on_output(text: str) -> Awaitable[None] | None:
            self._take(text)
            return None if callback is None else callback(text)

        return on_output

    def _take(self, text: str) -> None:
        if self._seen > KEPT_BYTES:
            return
        self._seen += len(text)
        self._waiting.append(text)
        if self._seen > KEPT_BYTES:
            self._waiting.append("\n[... more has come; the history will have it when the command has ended ...]\n")
        self._news.set()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            file = await asyncio.to_thread(_opened, self._path)
            try:
                await self._write_what_comes(file)
            finally:
                await asyncio.to_thread(self._path.unlink, missing_ok=True)
                file.close()
        except OSError as error:
            log.warning("the output of a running command cannot be shown: %s", error)

    async def _write_what_comes(self, file: FileIO) -> None:
        while not self._ended.is_set():
            await self._news.wait()
            self._news.clear()
            await asyncio.to_thread(file.write, self._next().encode("utf-8", "replace"))
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_S):
                    await self._ended.wait()

    def _next(self) -> str:
        """What may be shown of what has come: not the beginning of something that could become a secret."""
        text, self._waiting = self._held + "".join(self._waiting), []
        held = max((_begun(text, secret) for secret in self._secrets), default=0)
        self._held = text[len(text) - held :]
        return redact(text[: len(text) - held], self._secrets)


def _begun(text: str, secret: str) -> int:
    """How many characters at the end of the text are the beginning of the secret, and not all of it."""
    longest = min(len(secret) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(secret[:size])), 0)


def _opened(path: Path) -> FileIO:
    import portalocker

    path.parent.mkdir(mode=0o700, exist_ok=True)
    file = path.open("xb", buffering=0)  # a call's id is its own
    portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE)
    return file


def running(directory: Path) -> list[str]:
    """The commands of a session's directory `live` that are being followed at this moment, by their call. Blocks."""
    return sorted(path.stem for path in directory.glob("*.txt") if _is_held(path))


def _is_held(path: Path) -> bool:
    import portalocker

    try:
        with path.open("rb") as file:
            portalocker.lock(file, portalocker.LockFlags.SHARED | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.exceptions.LockException:
        return True
    except FileNotFoundError:
        return False
    return False


class Followed:
    """The output of a running command, as far as it has been read. Every method blocks for a file operation."""

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError when the command is not followed, or has ended."""
        self._path = path
        self._file = path.open("rb")
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def ended(self) -> bool:
        """Nothing is written any more; `news` has the rest."""
        return not self._path.exists()

    def news(self) -> Iterator[str]:
        """What has come since, in pieces."""
        while data := self._file.read(_PIECE_BYTES):
            yield self._decoder.decode(data)

    def close(self) -> None:
        self._file.close()
