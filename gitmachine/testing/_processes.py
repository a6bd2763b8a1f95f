"""Background commands, which every provider has."""

from __future__ import annotations

import pytest

from gitmachine.machine import Machine
from gitmachine.testing._behaviour import Suite, behaviour
from gitmachine.types import ExecuteOptions

_LIMIT_S = 20.0


class Processes(Suite):
    """Rows about `spawn` and `process`."""

    @behaviour
    async def test_a_background_command_ends_with_code_and_output(self, machine: Machine) -> None:
        process = await machine.spawn("echo out; echo err >&2; exit 7")
        result = await process.wait(_LIMIT_S)
        assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")
        assert not await process.running()

    @behaviour
    async def test_a_background_command_has_its_cwd_and_env(self, machine: Machine) -> None:
        await machine.make_dir("it's here")
        options = ExecuteOptions(cwd="it's here", env={"GM_A": "$(touch pwned) 'x'"})
        result = await (await machine.spawn('pwd; printf %s "$GM_A"', options)).wait(_LIMIT_S)
        assert result.stdout.endswith("/it's here\n$(touch pwned) 'x'")
        assert not await machine.exists("it's here/pwned")

    @behaviour
    async def test_a_background_command_lives_on_and_is_found_by_its_id(self, machine: Machine) -> None:
        process = await machine.spawn("read -r x; echo got $x")
        found = await machine.process(process.id)
        assert await found.running()
        await found.write_stdin("it\n")
        assert (await found.wait(_LIMIT_S)).stdout == "got it\n"

    @behaviour
    async def test_an_unknown_background_command_is_a_lookup_error(self, machine: Machine) -> None:
        for name in ("0123456789abcdef", "../..", "$(touch pwned)", ""):
            with pytest.raises(LookupError):
                await machine.process(name)
        assert not await machine.exists("pwned")

    @behaviour
    async def test_output_of_a_background_command_is_read_by_cursor(self, machine: Machine) -> None:
        process = await machine.spawn("printf 'one é '; read -r x; printf two")
        await process.write_stdin("on\n")
        await process.wait(_LIMIT_S)
        first = await process.output(max_bytes=5)
        rest = await process.output(first.next)
        assert (first.text, rest.text) == ("one ", "é two")
        assert (first.done, rest.done, rest.next) == (False, True, len("one é two".encode()))

    @behaviour
    async def test_input_of_a_background_command_ends_when_it_is_closed(self, machine: Machine) -> None:
        process = await machine.spawn("cat; echo end")
        await process.write_stdin(b"one\n")
        assert await process.running()
        await process.write_stdin("two\n")
        await process.close_stdin()
        assert (await process.wait(_LIMIT_S)).stdout == "one\ntwo\nend\n"

    @behaviour
    async def test_an_interrupt_reaches_a_background_command(self, machine: Machine) -> None:
        process = await machine.spawn("trap 'echo caught; exit 3' INT; : >ready; while :; do sleep 0.05; done")
        await machine.execute("until [ -e ready ]; do :; done", ExecuteOptions(timeout=_LIMIT_S))
        await process.interrupt()
        result = await process.wait(_LIMIT_S)
        assert (result.exit_code, result.stdout) == (3, "caught\n")

    @behaviour
    async def test_killing_a_background_command_ends_its_whole_tree(self, machine: Machine) -> None:
        process = await machine.spawn("setsid sh -c 'echo $$ >pid; exec sleep 1000' & wait; sleep 1000")
        await machine.execute("until [ -s pid ]; do :; done", ExecuteOptions(timeout=_LIMIT_S))
        await process.kill()
        assert not await process.running()
        alive = await machine.execute("grep -s '^State:[[:space:]]*[^ZX[:space:]]' /proc/$(cat pid)/status")
        assert alive.stdout == ""
        assert (await process.wait(_LIMIT_S)).exit_code == 137

    @behaviour
    async def test_a_deadline_ends_a_background_command(self, machine: Machine) -> None:
        process = await machine.spawn("echo begun; sleep 1000", ExecuteOptions(timeout=0.5))
        result = await process.wait(_LIMIT_S)
        assert (result.exit_code, result.timed_out, result.stdout) == (124, True, "begun\n")

    @behaviour
    async def test_waiting_in_vain_is_a_timeout_error_and_harms_nothing(self, machine: Machine) -> None:
        process = await machine.spawn("read -r x; exit 5")
        with pytest.raises(TimeoutError):
            await process.wait(0.2)
        assert await process.running()
        await process.close_stdin()
        assert (await process.wait(_LIMIT_S)).exit_code == 5
