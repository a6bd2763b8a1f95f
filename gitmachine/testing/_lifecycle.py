"""The states of a machine and what may be called in each."""

from __future__ import annotations

import asyncio

import pytest

from gitmachine.errors import MachineError, StateError
from gitmachine.machine import Machine
from gitmachine.testing._behaviour import Suite, behaviour, behaviour_of_an_idle_machine
from gitmachine.types import Capabilities, ExecuteOptions, MachineState

_PAUSE_S = 1.5


class Lifecycle(Suite):
    """Rows about start, pause, resume and stop."""

    @behaviour_of_an_idle_machine
    async def test_a_new_machine_is_idle_and_running_after_its_start(self, machine: Machine) -> None:
        states = [machine.state]
        await machine.start()
        states.append(machine.state)
        assert states == [MachineState.IDLE, MachineState.RUNNING]

    @behaviour_of_an_idle_machine
    async def test_the_id_is_known_from_the_start_to_the_end(self, machine: Machine) -> None:
        assert machine.id is None
        await machine.start()
        first = machine.id
        assert isinstance(first, str)
        assert first
        await machine.pause()
        await machine.resume()
        assert machine.id == first
        await machine.stop()
        assert machine.id == first

    @behaviour_of_an_idle_machine
    async def test_an_idle_machine_names_start(self, machine: Machine) -> None:
        calls = (
            lambda: machine.execute("true"),
            lambda: machine.read_file("x"),
            lambda: machine.list_files("."),
            machine.pause,
        )
        for call in calls:
            with pytest.raises(StateError, match=r"start\(\)"):
                await call()
        assert machine.state is MachineState.IDLE

    @behaviour
    async def test_a_running_machine_is_not_started_again(self, machine: Machine) -> None:
        await machine.write_file("kept", "x")
        with pytest.raises(StateError):
            await machine.start()
        assert machine.state is MachineState.RUNNING
        assert await machine.exists("kept")

    @behaviour
    async def test_a_running_machine_is_not_resumed(self, machine: Machine) -> None:
        with pytest.raises(StateError, match="running"):
            await machine.resume()
        assert (await machine.execute("true")).ok

    @behaviour
    async def test_a_paused_machine_names_resume(self, machine: Machine) -> None:
        await machine.pause()
        assert machine.state is MachineState.PAUSED
        calls = (
            lambda: machine.execute("true"),
            lambda: machine.read_file("x"),
            lambda: machine.write_file("x", "y"),
            lambda: machine.list_files("."),
        )
        for call in calls:
            with pytest.raises(StateError, match=r"resume\(\)"):
                await call()
        with pytest.raises(StateError):
            await machine.start()

    @behaviour
    async def test_a_resumed_machine_has_its_files_and_runs(self, machine: Machine) -> None:
        await machine.write_file("kept", "before")
        for _ in range(2):
            await machine.pause()
            await machine.resume()
        assert machine.state is MachineState.RUNNING
        assert (await machine.execute("cat kept")).stdout == "before"

    @behaviour
    async def test_nothing_runs_while_a_machine_is_paused(self, machine: Machine) -> None:
        ticker = await machine.spawn("while :; do echo tick >>ticks; sleep 0.05; done")
        await machine.execute("until [ -s ticks ]; do :; done", ExecuteOptions(timeout=20))
        before = len(await machine.read_file("ticks"))
        await machine.pause()
        await asyncio.sleep(_PAUSE_S)
        await machine.resume()
        ticks = (len(await machine.read_file("ticks")) - before) / len("tick\n")
        await ticker.kill()
        assert ticks < _PAUSE_S / 0.05 / 2

    @behaviour
    async def test_memory_is_kept_over_a_pause_where_the_machine_says_so(self, machine: Machine) -> None:
        counter = await machine.spawn("n=0; while read -r x; do n=$((n+1)); echo $n; done")
        await counter.write_stdin("x\nx\n")
        await machine.pause()
        await machine.resume()
        assert await counter.running() == machine.capabilities.pause_keeps_memory
        if machine.capabilities.pause_keeps_memory:
            await counter.write_stdin("x\n")
            await counter.close_stdin()
            assert (await counter.wait(timeout=20)).stdout == "1\n2\n3\n"

    @behaviour
    async def test_stopping_is_for_good_and_twice_is_once(self, machine: Machine) -> None:
        await machine.stop()
        await machine.stop()
        assert machine.state is MachineState.STOPPED
        calls = (
            lambda: machine.execute("true"),
            lambda: machine.read_file("x"),
            machine.start,
            machine.pause,
            machine.resume,
        )
        for call in calls:
            with pytest.raises(StateError):
                await call()
        assert machine.state is MachineState.STOPPED

    @behaviour_of_an_idle_machine
    async def test_a_machine_that_never_started_can_be_stopped(self, machine: Machine) -> None:
        await machine.stop()
        assert machine.state is MachineState.STOPPED

    @behaviour
    async def test_a_paused_machine_can_be_stopped(self, machine: Machine) -> None:
        await machine.spawn("sleep 1000")
        await machine.pause()
        await machine.stop()
        assert machine.state is MachineState.STOPPED

    @behaviour
    async def test_stopping_ends_a_command_that_runs(self, machine: Machine) -> None:
        started = asyncio.Event()
        options = ExecuteOptions(on_stdout=lambda _: started.set())
        task = asyncio.ensure_future(machine.execute("echo up; sleep 1000", options))
        await started.wait()
        await machine.stop()
        outcome = (await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 10))[0]
        # Seen by the caller as the death of the command or of the machine, never as a success.
        assert isinstance(outcome, MachineError | StateError) or not getattr(outcome, "ok", True), outcome

    @behaviour
    async def test_the_capabilities_are_told_in_full(self, machine: Machine) -> None:
        capabilities = machine.capabilities
        assert isinstance(capabilities, Capabilities)
        assert capabilities.isolation
        assert capabilities.network in {"none", "host", "allow-list", "unrestricted", "unknown"}

    @behaviour
    async def test_a_network_said_to_be_none_is_none(self, machine: Machine) -> None:
        interfaces = await machine.execute("cut -d: -f1 -s /proc/net/dev | grep -v '^ *lo$'")
        assert machine.capabilities.network != "none" or interfaces.stdout == ""
