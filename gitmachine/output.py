"""Keeps the whole output of a command whose result can hold only its head and tail."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

from gitmachine.types import ExecuteOptions, ExecutionResult, OutputCallback

log = logging.getLogger(__name__)

KEPT_BYTES = 64 * 1024 * 1024
"""Kept of one command's output, stdout and stderr together, in the order they came."""
_AT_ONCE_BYTES = 1024 * 1024


class OutputKeeper:
    """Stands between a command and the caller's callbacks, and writes a file once the output outgrows its result."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path = path
        self._limit = limit_bytes
        self._waiting: list[bytes] = []
        self._seen = 0
        self._written = 0
        self._is_broken = False

    def attach(self, options: ExecuteOptions) -> ExecuteOptions:
        """The options with this keeper in front of their callbacks."""
        return options.with_(on_stdout=self._behind(options.on_stdout), on_stderr=self._behind(options.on_stderr))

    async def finish(self, result: ExecutionResult) -> ExecutionResult:
        """The result, with the place of the whole output if that is more than it holds and could be written."""
        if not result.truncated or not self._seen:
            return result
        await self._write_waiting()
        return result if self._is_broken else replace(result, output_path=str(self._path))

    def _behind(self, callback: OutputCallback | None) -> OutputCallback:
        def on_output(text: str) -> Awaitable[None] | None:
            if self._keep(text):
                return self._write_before(callback, text)
            return None if callback is None else callback(text)

        return on_output

    def _keep(self, text: str) -> bool:
        """Whether it is time to write."""
        if self._seen > KEPT_BYTES or self._is_broken:
            return False
        data = text.encode("utf-8", "replace")
        self._seen += len(data)
        self._waiting.append(data)
        if self._seen > KEPT_BYTES:
            self._waiting.append(f"\n[... what came after {self._seen} bytes was not kept ...]\n".encode())
            return True
        return self._seen - self._written > max(self._limit, _AT_ONCE_BYTES)

    async def _write_before(self, callback: OutputCallback | None, text: str) -> None:
        await self._write_waiting()
        answer = None if callback is None else callback(text)
        if inspect.isawaitable(answer):
            await answer

    async def _write_waiting(self) -> None:
        chunk, self._waiting = b"".join(self._waiting), []
        self._written += len(chunk)
        try:
            await asyncio.to_thread(self._write, chunk)
        except OSError as error:  # the command has run, and its checkpoint is worth more than the rest of its output
            self._is_broken = True
            log.warning("the whole output of a command cannot be kept: %s", error)

    def _write(self, chunk: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(chunk)
