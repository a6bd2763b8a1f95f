"""The one place that starts git on the host.

Never with a working directory, git directory or path that anything in a machine can write: bytes cross, and
nothing else (see `gitmachine/git/environment.py` for what such a process may use).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gitmachine.errors import ConfigurationError
from gitmachine.git.environment import host_environment
from gitmachine.git.failures import failure, timed_out
from gitmachine.git.remote import Remote, redact

LOCAL_TIMEOUT_S = 600.0
NETWORK_TIMEOUT_S = 1800.0
"""For a whole transfer. A stalled one ends long before, by git's own low speed limit."""

_NO_GIT = "git is not installed on this host; install it (Debian: `apt install git`)"
_CHUNK_BYTES = 256 * 1024
_DRAIN_BYTES = 1024 * 1024
_KILL_LIMIT_S = 5.0

Input = bytes | AsyncIterator[bytes] | None


@dataclass(frozen=True, slots=True)
class Completed:
    """What a git process left behind."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes = field(repr=False)
    stderr: str
    """Redacted."""

    @property
    def text(self) -> str:
        """stdout without its last line end."""
        return self.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")

    def lines(self) -> list[str]:
        """stdout's lines."""
        return self.stdout.decode("utf-8", "surrogateescape").splitlines()


@dataclass(frozen=True, slots=True)
class HostGit:
    """Runs git for the vault, with an environment that is made here from nothing."""

    holding: tuple[int, ...] = ()
    """File descriptors that its processes inherit, for the locks on them (see `gitmachine.git.turns`)."""

    async def run(
        self,
        *args: str,
        git_dir: Path | None,
        stdin: Input = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        remote: Remote | None = None,
        timeout: float | None = None,
    ) -> Completed:
        """What `git ARGS` answered. Only with `remote` may it use the network, and that remote's credential.

        `stdin` is fed as it comes. `timeout` in seconds, by default 600, for a remote 1800; then, and when the
        caller is cancelled, the whole process group is killed.

        Raises: a GitError of the kind that stderr tells, unless `check` is false.
        """
        limit = timeout or (NETWORK_TIMEOUT_S if remote else LOCAL_TIMEOUT_S)
        argv = ("git", *args)
        shown = _shown(argv, remote)
        process = await self._start(argv, git_dir, env or {}, remote, stdin is not None)
        try:
            async with asyncio.timeout(limit):
                stdout, raw = await _exchange(process, stdin)
                exit_code = await process.wait()
        except TimeoutError:
            raise timed_out(shown, limit, "", remote) from None
        finally:
            await _end(process)
        stderr = redact(raw.decode("utf-8", "replace"), remote.secrets if remote else ())
        if check and exit_code != 0:
            raise failure(shown, exit_code, stderr, remote)
        return Completed(shown, exit_code, stdout, stderr)

    async def stream(
        self, *args: str, git_dir: Path, stdin: bytes = b"", timeout: float = LOCAL_TIMEOUT_S
    ) -> AsyncIterator[bytes]:
        """The output of `git ARGS` as it comes. `stdin` must be small enough for memory.

        Raises: GitError after the last piece, when git failed: what was given until then is incomplete.
        """
        argv = ("git", *args)
        process = await self._start(argv, git_dir, {}, None, True)
        assert process.stdout is not None
        assert process.stderr is not None
        feeding = asyncio.ensure_future(_feed(process.stdin, stdin))
        complaints = asyncio.ensure_future(process.stderr.read())
        try:
            async with asyncio.timeout(timeout):
                while chunk := await process.stdout.read(_CHUNK_BYTES):
                    yield chunk
                await feeding
                stderr = (await complaints).decode("utf-8", "replace")
                exit_code = await process.wait()
        except TimeoutError:
            raise timed_out(argv, timeout, "", None) from None
        finally:
            await _end(process)
            await _drop(feeding, complaints)
        if exit_code != 0:
            raise failure(argv, exit_code, stderr, None)

    async def _start(
        self, argv: tuple[str, ...], git_dir: Path | None, env: Mapping[str, str], remote: Remote | None, fed: bool
    ) -> asyncio.subprocess.Process:
        environment = host_environment(remote)
        if git_dir is not None:
            environment["GIT_DIR"] = str(git_dir)
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                # `/` is nobody's repository. A session of its own has no terminal, so that neither git nor ssh asks.
                cwd="/",
                env={**environment, **env},
                stdin=asyncio.subprocess.PIPE if fed else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                pass_fds=self.holding,
            )
        except FileNotFoundError:
            raise ConfigurationError(_NO_GIT) from None


def _shown(argv: tuple[str, ...], remote: Remote | None) -> tuple[str, ...]:
    return tuple(redact(part, remote.secrets if remote else ()) for part in argv)


async def _exchange(process: asyncio.subprocess.Process, stdin: Input) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    out = asyncio.ensure_future(process.stdout.read())
    err = asyncio.ensure_future(process.stderr.read())
    try:
        if stdin is not None:
            await _feed(process.stdin, stdin)
        return await out, await err
    finally:
        await _drop(out, err)


async def _feed(pipe: asyncio.StreamWriter | None, data: bytes | AsyncIterator[bytes]) -> None:
    """Writes everything. A git that reads no further has its reason, and its exit code tells it."""
    assert pipe is not None
    with suppress(BrokenPipeError, ConnectionResetError):
        if isinstance(data, bytes):
            pipe.write(data)
            await pipe.drain()
        else:
            async for chunk in data:
                pipe.write(chunk)
                await pipe.drain()
    pipe.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await pipe.wait_closed()


async def _drop(*tasks: asyncio.Future[bytes] | asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing of the process group is left. Does nothing after an ordinary end."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

    async def reap() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_KILL_LIMIT_S):
                for pipe in (process.stdout, process.stderr):
                    # A pipe that nobody reads to its end stays open.
                    while pipe is not None and await pipe.read(_DRAIN_BYTES):
                        pass
                await process.wait()

    await asyncio.shield(reap())
