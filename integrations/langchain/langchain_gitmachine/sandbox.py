"""GitMachineSandbox: a session as the sandbox of a deep agent."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from deepagents.backends import CompositeBackend
from deepagents.backends.protocol import (
    DeleteResult,
    EditResult,
    ExecuteResponse,
    FileDownloadResponse,
    FileUploadResponse,
    GlobResult,
    GrepResult,
    LsResult,
    ReadResult,
    WriteResult,
)
from deepagents.backends.sandbox import BaseSandbox

from gitmachine import ExecuteOptions, ExecutionResult, GitMachine, GitMachineError, sync
from gitmachine.actor import acting
from langchain_gitmachine import full_output, render
from langchain_gitmachine.reach import DOOR, Reach
from langchain_gitmachine.tools import ToolLimits
from langchain_gitmachine.transfer import download, upload
from langchain_gitmachine.verbs import make_durable

if TYPE_CHECKING:
    from deepagents.backends.protocol import ExecuteOffloadResult

T = TypeVar("T")

ARTIFACTS_ROOT = "/tmp/gitmachine"  # noqa: S108  # in the machine, which has a /tmp of its own
"""Where deepagents puts what it takes out of the conversation: outside the repository, where it cannot be committed."""

_FILE_CALL_LIMIT_S = 120.0


class GitMachineSandbox(BaseSandbox):
    """A session for `create_deep_agent(backend=...)`; see `gitmachine_backend`, which sets the rest up too.

    `execute` runs commands as `GitMachine.run` does: in the checkout, logged, and durable when it returns. File calls
    take absolute paths anywhere in the machine and leave no entry in the log; those that write are durable as well.
    Works from any loop and thread; a session of `gitmachine.sync` is the right one for programs without `await`.
    """

    enable_capture_offload = True
    """Long output goes to a file in the machine, by `execute_with_offload` below."""

    def __init__(self, machine: GitMachine | sync.GitMachine, *, limits: ToolLimits | None = None) -> None:
        self._reach = Reach(machine)
        self._limits = limits or ToolLimits()
        self._files = _Files(self._reach)

    @property
    def id(self) -> str:
        """The machine's id."""
        return self._reach.gm.id or ""

    @property
    def path(self) -> str:
        """The checkout's absolute path."""
        return self._reach.gm.path

    # --- commands ---------------------------------------------------------------------------------------

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """stdout, then stderr; a non-zero exit is a result. `timeout` in seconds; 124 when it has passed."""
        return self._reach.call(lambda reach: self._execute(reach.gm, command, timeout))

    async def aexecute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """As `execute`. Cancelling it kills the command and its children."""
        return await self._reach.acall(lambda reach: self._execute(reach.gm, command, timeout))

    def execute_with_offload(
        self,
        command: str,
        capture_path: str,
        *,
        max_inline_bytes: int,
        max_capture_bytes: int | None = None,
        timeout: int | None = None,
    ) -> ExecuteOffloadResult:
        """As `execute`, but output of more than `max_inline_bytes` is left at `capture_path`, its ends are returned.

        The command runs as the model gave it, so that the session's log has what ran, not deepagents' wrapping of it.
        """
        return self._reach.call(lambda reach: self._offload(reach.gm, command, capture_path, max_inline_bytes, timeout))

    async def aexecute_with_offload(
        self,
        command: str,
        capture_path: str,
        *,
        max_inline_bytes: int,
        max_capture_bytes: int | None = None,
        timeout: int | None = None,
    ) -> ExecuteOffloadResult:
        """As `execute_with_offload`."""
        return await self._reach.acall(
            lambda reach: self._offload(reach.gm, command, capture_path, max_inline_bytes, timeout)
        )

    async def _execute(self, gm: GitMachine, command: str, timeout: int | None) -> ExecuteResponse:
        try:
            result = await self._run(gm, command, timeout)
        except GitMachineError as error:  # for the model to read; raised, it would end the agent's run
            return ExecuteResponse(output=f"{type(error).__name__}: {error}", exit_code=None)
        return ExecuteResponse(output=_both(result), exit_code=result.exit_code, truncated=result.truncated)

    async def _offload(
        self, gm: GitMachine, command: str, capture_path: str, max_inline_bytes: int, timeout: int | None
    ) -> ExecuteOffloadResult:
        from deepagents.backends.protocol import ExecuteOffloadResult  # not in the first versions of 0.7

        try:
            # The one sign of the tool call that deepagents gives: it names the file after it.
            result = await self._run(gm, command, timeout, posixpath.basename(capture_path))
        except GitMachineError as error:
            refused = ExecuteResponse(output=f"{type(error).__name__}: {error}", exit_code=None)
            return ExecuteOffloadResult(offloaded=False, response=refused)
        output = _both(result)
        if not result.truncated and len(output.encode("utf-8", "replace")) <= max_inline_bytes:
            return ExecuteOffloadResult(offloaded=False, response=ExecuteResponse(output, result.exit_code))
        kept = await full_output.keep(gm, result, capture_path)
        preview = render.shorten(output, min(max_inline_bytes // 4, self._limits.max_output_chars))
        return ExecuteOffloadResult(
            offloaded=kept is not None, response=ExecuteResponse(preview, result.exit_code, truncated=kept is None)
        )

    async def _run(self, gm: GitMachine, command: str, timeout: int | None, call: str | None = None) -> ExecutionResult:
        with acting(DOOR, call):
            return await gm.run(command, timeout=self._limits.bound(timeout, gm.timeout))

    # --- files ------------------------------------------------------------------------------------------

    # What only reads goes to the machine itself: it is no command of the session.
    def ls(self, path: str) -> LsResult:
        return self._files.ls(path)

    async def als(self, path: str) -> LsResult:
        return await self._files.als(path)

    def read(self, file_path: str, offset: int = 0, limit: int = 2000) -> ReadResult:
        return self._files.read(file_path, offset, limit)

    async def aread(self, file_path: str, offset: int = 0, limit: int = 2000) -> ReadResult:
        return await self._files.aread(file_path, offset, limit)

    def grep(
        self, pattern: str, path: str | None = None, glob: str | None = None, *, max_count: int | None = None
    ) -> GrepResult:
        return self._files.grep(pattern, path, glob, max_count=max_count)

    async def agrep(
        self, pattern: str, path: str | None = None, glob: str | None = None, *, max_count: int | None = None
    ) -> GrepResult:
        return await self._files.agrep(pattern, path, glob, max_count=max_count)

    def glob(self, pattern: str, path: str | None = None) -> GlobResult:
        return self._files.glob(pattern, path)

    async def aglob(self, pattern: str, path: str | None = None) -> GlobResult:
        return await self._files.aglob(pattern, path)

    def write(self, file_path: str, content: str) -> WriteResult:
        return self._durable(self._files.write(file_path, content), file_path)

    async def awrite(self, file_path: str, content: str) -> WriteResult:
        return await self._adurable(await self._files.awrite(file_path, content), file_path)

    def edit(self, file_path: str, old_string: str, new_string: str, replace_all: bool = False) -> EditResult:
        return self._durable(self._files.edit(file_path, old_string, new_string, replace_all), file_path)

    async def aedit(self, file_path: str, old_string: str, new_string: str, replace_all: bool = False) -> EditResult:
        return await self._adurable(await self._files.aedit(file_path, old_string, new_string, replace_all), file_path)

    def delete(self, file_path: str) -> DeleteResult:
        return self._durable(self._files.delete(file_path), file_path)

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        return self._durable(self._files.upload_files(files), *(path for path, _ in files))

    async def aupload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        return await self._adurable(await self._files.aupload_files(files), *(path for path, _ in files))

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        return self._files.download_files(paths)

    async def adownload_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        return await self._files.adownload_files(paths)

    def _durable(self, answer: T, *paths: str) -> T:
        if self._in_checkout(paths):
            self._reach.call(_save)
        return answer

    async def _adurable(self, answer: T, *paths: str) -> T:
        if self._in_checkout(paths):
            await self._reach.acall(_save)
        return answer

    def _in_checkout(self, paths: Sequence[str]) -> bool:
        return any(posixpath.normpath(path).startswith(f"{self.path}/") for path in paths)


class _Files(BaseSandbox):
    """deepagents' file calls, on the machine itself."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    @property
    def id(self) -> str:
        return self._reach.gm.id or ""

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        return self._reach.call(lambda reach: _plain(reach.gm, command, timeout))

    async def aexecute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        return await self._reach.acall(lambda reach: _plain(reach.gm, command, timeout))

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        return self._reach.call(lambda reach: upload(reach.gm.machine, files))

    async def aupload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        return await self._reach.acall(lambda reach: upload(reach.gm.machine, files))

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        return self._reach.call(lambda reach: download(reach.gm.machine, paths))

    async def adownload_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        return await self._reach.acall(lambda reach: download(reach.gm.machine, paths))


async def _plain(gm: GitMachine, command: str, timeout: int | None) -> ExecuteResponse:
    options = ExecuteOptions(cwd=gm.path, timeout=timeout or _FILE_CALL_LIMIT_S, max_output_bytes=None)
    result = await gm.machine.execute(command, options)
    return ExecuteResponse(output=_both(result), exit_code=result.exit_code)


async def _save(reach: Reach) -> None:
    await make_durable(reach.gm)


def _both(result: ExecutionResult) -> str:
    if not result.stderr:
        return result.stdout
    separator = "" if not result.stdout or result.stdout.endswith("\n") else "\n"
    return f"{result.stdout}{separator}{result.stderr}"


def gitmachine_backend(machine: GitMachine | sync.GitMachine, *, limits: ToolLimits | None = None) -> CompositeBackend:
    """What to give to `create_deep_agent(backend=...)`: the sandbox, with deepagents' own files outside the repository.

    By default deepagents writes them below `/`, where an agent that is not root may not, or into the repository.
    """
    return CompositeBackend(default=GitMachineSandbox(machine, limits=limits), routes={}, artifacts_root=ARTIFACTS_ROOT)
