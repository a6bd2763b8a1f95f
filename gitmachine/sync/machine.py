"""A machine, and its background commands, without `await`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from gitmachine import machine as core
from gitmachine import process
from gitmachine.sync.calls import with_threads, without_await
from gitmachine.sync.owner import OwnerLoop, shared
from gitmachine.types import Capabilities, ExecuteOptions, ExecutionResult, MachineState


class Process:
    """A background command. Made by `GitMachine.spawn`, `Machine.spawn` and `Machine.process`."""

    def __init__(self, asynchronous: process.Process, owner: OwnerLoop | None = None) -> None:
        self.asynchronous = asynchronous
        self.owner = owner or shared()

    @property
    def id(self) -> str:
        """Good for `Machine.process(id)`, also from another program, for as long as the machine lives."""
        return self.asynchronous.id

    output = without_await(process.Process.output)
    write_stdin = without_await(process.Process.write_stdin)
    close_stdin = without_await(process.Process.close_stdin)
    interrupt = without_await(process.Process.interrupt)
    kill = without_await(process.Process.kill)
    running = without_await(process.Process.running)
    wait = without_await(process.Process.wait)


class Machine:
    """Any provider's machine. `with` does `start()` and `stop()`.

    What a provider adds to the contract is called on `asynchronous`, with `owner.run(...)` around it.
    """

    def __init__(self, asynchronous: core.Machine, owner: OwnerLoop | None = None) -> None:
        self.asynchronous = asynchronous
        self.owner = owner or shared()

    @property
    def id(self) -> str | None:
        """The provider's name for this machine; None before `start()`."""
        return self.asynchronous.id

    @property
    def state(self) -> MachineState:
        return self.asynchronous.state

    @property
    def capabilities(self) -> Capabilities:
        """What this machine really does."""
        return self.asynchronous.capabilities

    start = without_await(core.Machine.start)
    pause = without_await(core.Machine.pause)
    resume = without_await(core.Machine.resume)
    stop = without_await(core.Machine.stop)
    aclose = without_await(core.Machine.aclose)
    home = without_await(core.Machine.home)
    read_file = without_await(core.Machine.read_file)
    read_bytes = without_await(core.Machine.read_bytes)
    write_file = without_await(core.Machine.write_file)
    list_files = without_await(core.Machine.list_files)
    make_dir = without_await(core.Machine.make_dir)
    remove = without_await(core.Machine.remove)
    exists = without_await(core.Machine.exists)

    def another(self) -> Machine:
        """A new machine, not started, set up as this one was. Raises ConfigurationError."""
        return Machine(self.asynchronous.another(), self.owner)

    def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        """Runs `command` in a shell of the machine and waits for its end."""
        options, _ = with_threads(options, {})
        return self.owner.run(self.asynchronous.execute(command, options))

    def write_bytes(self, path: str, content: bytes) -> None:
        """Writes a file whole."""
        self.owner.run(self.asynchronous.write_bytes(path, content))

    def spawn(self, command: str, options: ExecuteOptions | None = None) -> Process:
        """Starts a background command. It outlives this call, this object and this program."""
        return Process(self.owner.run(self.asynchronous.spawn(command, options)), self.owner)

    def process(self, process_id: str) -> Process:
        """A background command started earlier, by this program or another. Raises LookupError."""
        return Process(self.owner.run(self.asynchronous.process(process_id)), self.owner)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def behind(machine: core.Machine | Machine) -> core.Machine:
    """The machine that coroutines are called on."""
    return machine.asynchronous if isinstance(machine, Machine) else machine
