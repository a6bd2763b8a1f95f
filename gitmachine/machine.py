"""Machine: what a provider implements, and what it gets for free.

A provider writes the ten abstract members and is complete: `GitMachine`, the command line and every door
work on it. Everything else here has a default made of those ten; a provider overrides one when it can do
better, never because it must.

The contract, which `gitmachine.testing.MachineContract` runs against any provider:

- `execute` gives its string to a POSIX shell in the machine, unread. A non-zero exit is a result. 128 + n
  stands for death by signal n, 124 with `timed_out` for the deadline. `MachineError` is for the machine's own
  failures and `StateError` for calls that do not fit its state.
- The command's standard input is `options.stdin` or empty. Its environment is the machine's own and
  `options.env`, never the host's.
- When the shell has ended the call returns, also while children of it still hold its output open; those live
  on. A deadline or a cancellation kills the whole tree, whatever sessions its processes moved to.
- Paths are absolute, or relative to the machine's home directory. A `cwd` that is no directory is an OSError
  that names it, and the command is not run.
"""

from __future__ import annotations

import base64
import shlex
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from gitmachine.errors import ConfigurationError, FileError
from gitmachine.types import Capabilities, ExecuteOptions, ExecutionResult, MachineState, Refusal, Wishes

if TYPE_CHECKING:
    from gitmachine.process import Process

_WRITE_CHUNK_BYTES = 1024 * 1024


class Place(Protocol):
    """Somewhere commands run and files can be fetched from: a machine, or an observer beside it."""

    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult: ...

    async def read_bytes(self, path: str) -> bytes: ...

    def read_chunks(self, path: str) -> AsyncIterator[bytes]: ...


class Observer(Place, Protocol):
    """A place beside a machine that sees its files, read-only, and that nothing in the machine can touch.

    It goes on working while the machine is paused. It has no network.
    """

    work_tree: str
    """The observed directory, as seen from here. Cannot be written."""
    git_dir: str
    """A directory that can be written here and lives as long as the machine."""
    objects: str | None
    """Where `share_objects` put its objects, as seen from here."""
    git_objects_in_machine: str | None
    """`git_dir`/objects as the machine sees it, read-only."""

    async def marks(self, directory: str, names: Sequence[str]) -> bytes:
        """Bytes that are the same again only if nothing of these files and directories, with all below, has changed.

        Empty when that cannot be told: something has changed in the last moment, leads elsewhere or is too much.
        """
        ...

    async def tree_marks(self, directory: str) -> bytes:
        """The same of a working tree, without its .git; links are in it as what they are."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """A script of ours that follows a command in the same request. It runs in `/`, one step after another."""

    command: str
    options: ExecuteOptions
    """env, stdin and timeout of it count."""


class Machine(ABC):
    """A sandbox that runs commands and holds files."""

    # --- what a provider writes -------------------------------------------------------------------------

    @property
    @abstractmethod
    def id(self) -> str | None:
        """The provider's name for this machine; None before `start()`. Good for the provider's `connect`."""

    @property
    @abstractmethod
    def state(self) -> MachineState:
        """Where the machine is in its life, as last seen by this object."""

    @abstractmethod
    async def start(self) -> None:
        """Brings the machine up. Raises MachineUnavailable, and then leaves nothing behind."""

    @abstractmethod
    async def pause(self) -> None:
        """Stops everything in the machine from running, until `resume()`."""

    @abstractmethod
    async def resume(self) -> None:
        """Lets a paused machine go on."""

    @abstractmethod
    async def stop(self) -> None:
        """Ends the machine for good and frees what it held. Stopping a stopped machine does nothing."""

    @abstractmethod
    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        """Runs `command` in a shell of the machine and waits for its end."""

    @abstractmethod
    async def read_file(self, path: str) -> str:
        """The text of a file, decoded as UTF-8. Raises FileNotFoundError, IsADirectoryError, FileError."""

    @abstractmethod
    async def write_file(self, path: str, content: str | bytes) -> None:
        """Writes a file whole, making the directories above it. Raises FileError."""

    @abstractmethod
    async def list_files(self, path: str) -> list[str]:
        """The names in a directory, sorted. Raises FileNotFoundError, NotADirectoryError, FileError."""

    # --- what it gets for free --------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        """What this machine really does."""
        return Capabilities()

    def another(self) -> Machine:
        """A new machine, not started, set up as this one was. Raises ConfigurationError when it needs to be told how.

        The default makes one without arguments.
        """
        try:
            return type(self)()
        except TypeError as error:
            raise ConfigurationError(
                f"{type(self).__name__} needs arguments to make another one: give the machine, or a function that does"
            ) from error

    async def execute_then(
        self, command: str, options: ExecuteOptions, steps: Sequence[Step]
    ) -> tuple[ExecutionResult, tuple[ExecutionResult, ...] | None]:
        """Runs a command, then the steps, whatever it came to, and gives the results of all.

        No other call's steps run at the same time. None in place of the steps' results: they were not run, since the
        command reached its deadline. One request where `capabilities.compound` says so; by default as many as steps.
        """
        result = await self.execute(command, options)
        if result.timed_out:
            return result, None
        return result, tuple([await self.execute(step.command, step.options.with_(cwd="/")) for step in steps])

    def label(self, **labels: str) -> None:
        """Before `start()`: what the machine is for, such as its session. A provider that can notes it on it."""

    adapts_before_start: ClassVar[bool] = False
    """`adapt` has to come before `start()`; by default it comes after, while nothing has run in the machine yet."""

    async def adapt(self, wishes: Wishes) -> dict[str, str]:
        """Takes up what the repository asks for and its operator granted; by a wish's name why it could not be had.

        The default can do nothing of it.
        """
        asked = [*wishes.limits, *(["image"] if wishes.image else []), *(["network"] if wishes.network else [])]
        asked += ["env"] if wishes.env else []
        return dict.fromkeys(asked, f"{type(self).__name__} cannot be set up by a repository")

    async def home(self) -> str:
        """The absolute path of the machine's home directory."""
        result = await self.execute('printf %s "$HOME"')
        return result.stdout or "/"

    async def read_bytes(self, path: str) -> bytes:
        """A file as bytes. Raises as `read_file` does."""
        target = shlex.quote(path)
        result = await self.execute(
            f"if [ -d {target} ]; then exit 21; elif [ ! -e {target} ]; then exit 2; fi; base64 < {target}",
            ExecuteOptions(max_output_bytes=None),
        )
        _raise_for_file(result, path)
        return base64.b64decode(result.stdout)

    async def read_chunks(self, path: str) -> AsyncIterator[bytes]:
        """A file as bytes, in pieces where the provider can; by default it is one. Raises as `read_file` does."""
        yield await self.read_bytes(path)

    async def write_bytes(self, path: str, content: bytes | AsyncIterator[bytes]) -> None:
        """Writes a file whole, from bytes or from a stream of them, never all of a stream in memory."""
        if isinstance(content, bytes):
            await self.write_file(path, content)
            return
        target = shlex.quote(path)
        await self.write_file(path, b"")
        async for chunk in content:
            for start in range(0, len(chunk), _WRITE_CHUNK_BYTES):
                piece = base64.b64encode(chunk[start : start + _WRITE_CHUNK_BYTES])
                result = await self.execute(f"base64 -d >> {target}", ExecuteOptions(stdin=piece))
                _raise_for_file(result, path)

    async def make_dir(self, path: str) -> None:
        """Makes a directory and those above it; one that exists is fine. Raises FileError."""
        _raise_for_file(await self.execute(f"mkdir -p -- {shlex.quote(path)}"), path)

    async def remove(self, path: str) -> None:
        """Removes a file, or a directory with all that is in it. Raises FileNotFoundError, FileError."""
        target = shlex.quote(path)
        result = await self.execute(f"if [ ! -e {target} ] && [ ! -L {target} ]; then exit 2; fi; rm -rf -- {target}")
        _raise_for_file(result, path)

    async def exists(self, path: str) -> bool:
        """Whether there is something at `path`, a dangling link included."""
        target = shlex.quote(path)
        return (await self.execute(f"[ -e {target} ] || [ -L {target} ]")).exit_code == 0

    async def spawn(self, command: str, options: ExecuteOptions | None = None) -> Process:
        """Starts a background command. It outlives this call, this object and this program."""
        from gitmachine.process import spawn  # process builds on Machine

        return await spawn(self, command, options or ExecuteOptions())

    async def process(self, process_id: str) -> Process:
        """A background command started earlier, by this program or another. Raises LookupError."""
        from gitmachine.process import find

        return await find(self, process_id)

    async def aclose(self) -> None:
        """Lets go of the machine without ending it: connections are closed, the machine lives on."""

    async def network_refusals(self, after: int = 0) -> tuple[list[Refusal], int]:
        """The connections that the network policy refused after `after`, and what to give as `after` the next time."""
        return [], after

    # --- what a provider on the host's own kernel can make faster and safer -----------------------------

    async def share_objects(self, directory: Path) -> str | None:
        """Makes a git object directory of the host readable in the machine, and never writable.

        Gives the path there, or None when the provider cannot, and objects are then sent as bundles. Called
        before `start()`, and again when there are new packs.
        """
        del directory
        return None

    async def observer(self, path: str) -> Observer | None:
        """A place that sees the machine's directory `path` from outside; None when the provider has none.

        A session asks before `start()`, too, so that what takes its time can come up beside the machine.
        """
        del path
        return None

    async def claim_spare(self, key: str) -> bool:
        """Before `start()`: takes over a home directory that `keep_spare` made for `key`, if one is ready."""
        del key
        return False

    async def keep_spare(self, key: str, command: str, options: ExecuteOptions) -> None:
        """Has `command` prepare a home directory for the next machine that asks for `key`.

        Returns at once; the work is done beside this program and ends by itself. Does nothing by default.
        """

    def quiet(self) -> AbstractAsyncContextManager[None]:
        """While it is held only what `execute` starts runs in the machine, where the provider can do that."""
        return _nothing()


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


def _raise_for_file(result: ExecutionResult, path: str) -> None:
    """Turns the exit codes of the file scripts above (errno numbers) into the exception they stand for."""
    if result.exit_code == 0:
        return
    if result.exit_code == 2:
        raise FileNotFoundError(2, "no such file in the machine", path)
    if result.exit_code == 21:
        raise IsADirectoryError(21, "is a directory in the machine", path)
    reason = result.stderr.strip() or f"exit code {result.exit_code}"
    raise FileError(f"{path!r} in the machine: {reason}")
