"""Deadlines, cancellation, and the whole tree that goes with them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gitmachine.machine import Machine
from gitmachine.testing._behaviour import Suite, behaviour
from gitmachine.types import ExecuteOptions

_ALIVE = r"for pid in $(cat pids); do grep -qs '^State:[[:space:]]*[^ZX[:space:]]' /proc/$pid/status && echo $pid; done"


class Endings(Suite):
    """Rows about commands that are ended from outside."""

    @behaviour
    async def test_a_deadline_gives_124_and_the_output_up_to_then(self, machine: Machine) -> None:
        seen: list[str] = []
        options = ExecuteOptions(timeout=0.5, on_stdout=seen.append)
        result = await machine.execute("echo partial; echo warning >&2; sleep 1000", options)
        assert (result.exit_code, result.timed_out) == (124, True)
        assert (result.stdout, result.stderr, "".join(seen)) == ("partial\n", "warning\n", "partial\n")
        assert 0.5 <= result.duration <= 0.5 + self.grace_s

    @behaviour
    async def test_a_command_that_exits_with_124_has_not_timed_out(self, machine: Machine) -> None:
        result = await machine.execute("exit 124", ExecuteOptions(timeout=20))
        assert (result.exit_code, result.timed_out) == (124, False)

    @behaviour
    async def test_a_deadline_that_is_not_reached_changes_nothing(self, machine: Machine) -> None:
        result = await machine.execute("echo done", ExecuteOptions(timeout=20))
        assert (result.exit_code, result.stdout, result.timed_out) == (0, "done\n", False)

    @behaviour
    async def test_a_deadline_kills_grandchildren(self, machine: Machine) -> None:
        await self._times_out(machine, "sh -c 'sh -c \"echo \\$\\$ >>pids; exec sleep 1000\" & wait' & wait")

    @behaviour
    async def test_a_deadline_kills_what_ignores_polite_signals(self, machine: Machine) -> None:
        await self._times_out(machine, "trap '' TERM INT HUP; echo $$ >>pids; while :; do sleep 1; done")

    @behaviour
    async def test_a_deadline_kills_what_moved_to_its_own_session(self, machine: Machine) -> None:
        await self._times_out(machine, "setsid sh -c 'echo $$ >>pids; exec sleep 1000' & wait; sleep 1000")

    @behaviour
    async def test_a_deadline_kills_daemons_forked_twice(self, machine: Machine) -> None:
        await self._times_out(
            machine, "(setsid sh -c '(echo $$ >>pids; sleep 1000; :) & wait' >/dev/null 2>&1 &); sleep 1000"
        )

    @behaviour
    async def test_a_deadline_leaves_other_commands_alone(self, machine: Machine) -> None:
        await machine.execute("mkfifo go")
        other = asyncio.ensure_future(machine.execute("read x <go; echo $x", ExecuteOptions(timeout=20)))
        await machine.execute("sleep 1000", ExecuteOptions(timeout=0.3))
        await machine.execute("echo on >go", ExecuteOptions(timeout=20))
        assert (await other).stdout == "on\n"

    @behaviour
    async def test_a_machine_goes_on_after_a_deadline(self, machine: Machine) -> None:
        for _ in range(3):
            assert (await machine.execute("sleep 1000", ExecuteOptions(timeout=0.2))).timed_out
        assert (await machine.execute("echo well")).stdout == "well\n"

    @behaviour
    async def test_cancelling_kills_the_command_and_its_children(self, machine: Machine) -> None:
        task = asyncio.ensure_future(
            machine.execute("sh -c 'echo $$ >>pids; exec sleep 1000' & echo $$ >>pids; wait; sleep 1000")
        )
        await machine.execute('until [ "$(wc -l <pids)" = 2 ]; do :; done 2>/dev/null', ExecuteOptions(timeout=20))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, self.grace_s)
        assert task.cancelled()
        assert (await machine.execute(_ALIVE)).stdout == ""

    async def _times_out(self, machine: Machine, command: str) -> None:
        """Runs a command that writes its processes' ids to `pids`; none of them may be left."""
        result = await machine.execute(command, ExecuteOptions(timeout=1.0))
        assert (result.exit_code, result.timed_out) == (124, True)
        assert result.duration <= 1.0 + self.grace_s
        assert (await machine.execute("test -s pids")).ok
        assert (await machine.execute(_ALIVE)).stdout == ""
