"""What a command is given, and what comes back from it."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from gitmachine.machine import Machine
from gitmachine.testing._behaviour import Suite, behaviour
from gitmachine.types import ExecuteOptions

HOSTILE = "a'b\"c $(touch pwned) `touch pwned` ; touch pwned\n\\ * ~ $HOME é😀"


class Commands(Suite):
    """Rows about `execute`."""

    @behaviour
    async def test_a_zero_exit_is_ok(self, machine: Machine) -> None:
        result = await machine.execute("true")
        assert (result.exit_code, result.ok, result.timed_out, result.truncated) == (0, True, False, False)

    @behaviour
    async def test_a_nonzero_exit_is_a_result(self, machine: Machine) -> None:
        for code in (1, 3, 124, 125, 126, 127, 255):
            result = await machine.execute(f"exit {code}")
            assert (result.exit_code, result.timed_out) == (code, False)

    @behaviour
    async def test_an_unknown_command_is_a_result_of_127(self, machine: Machine) -> None:
        result = await machine.execute("no-such-command-anywhere")
        assert result.exit_code == 127
        assert "no-such-command-anywhere" in result.stderr

    @behaviour
    async def test_death_by_a_signal_is_128_and_its_number(self, machine: Machine) -> None:
        for signal in (9, 15, 6):
            result = await machine.execute(f"kill -{signal} $$")
            assert (result.exit_code, result.timed_out) == (128 + signal, False)

    @behaviour
    async def test_stdout_and_stderr_are_kept_apart(self, machine: Machine) -> None:
        result = await machine.execute("echo out; echo err >&2")
        assert (result.stdout, result.stderr) == ("out\n", "err\n")

    @behaviour
    async def test_output_is_neither_trimmed_nor_translated(self, machine: Machine) -> None:
        result = await machine.execute(r"printf ' \n\ta\r\nb\n\n '")
        assert result.stdout == " \n\ta\r\nb\n\n "

    @behaviour
    async def test_the_duration_is_measured(self, machine: Machine) -> None:
        began = time.monotonic()
        result = await machine.execute("sleep 0.3")
        assert 0.3 <= result.duration <= time.monotonic() - began < self.limit_s

    @behaviour
    async def test_the_command_reaches_the_shell_unread(self, machine: Machine) -> None:
        result = await machine.execute("printf '%s\\n' \"it's \\$5\" 'two\nlines' $((1 + 2)) \"$(echo sub)\" # end")
        assert result.stdout == "it's $5\ntwo\nlines\n3\nsub\n"

    @behaviour
    async def test_a_command_line_of_100_kb_is_run(self, machine: Machine) -> None:
        text = "x" * 100_000
        result = await machine.execute(f"printf %s {text} | wc -c")
        assert result.stdout.strip() == "100000"

    @behaviour
    async def test_each_command_starts_in_a_new_shell(self, machine: Machine) -> None:
        await machine.execute("cd /; left=behind; export left; set -f")
        result = await machine.execute('echo "${left:-nothing}"; pwd')
        home = await machine.home()
        assert result.stdout.splitlines()[0] == "nothing"
        assert (await machine.execute(f'[ "$(pwd -P)" = "$(cd "{home}" && pwd -P)" ]')).ok

    @behaviour
    async def test_standard_input_is_fed_and_closed(self, machine: Machine) -> None:
        for stdin in ("text é\n", b"text \xc3\xa9\n"):
            result = await machine.execute("cat", ExecuteOptions(stdin=stdin))
            assert result.stdout == "text é\n"

    @behaviour
    async def test_standard_input_takes_every_byte_value(self, machine: Machine) -> None:
        result = await machine.execute("od -An -v -tu1 | tr -s ' \\n' ' '", ExecuteOptions(stdin=bytes(range(256))))
        assert result.stdout.split() == [str(value) for value in range(256)]

    @behaviour
    async def test_without_input_a_command_reads_the_end_at_once(self, machine: Machine) -> None:
        result = await machine.execute("cat; test -t 0 && echo terminal; echo read", ExecuteOptions(timeout=20))
        assert (result.stdout, result.exit_code) == ("read\n", 0)

    @behaviour
    async def test_an_input_of_5_mb_arrives_whole(self, machine: Machine) -> None:
        stdin = b"0123456789abcdef" * (5 * 65536)
        result = await machine.execute("cksum; wc -c </dev/null", ExecuteOptions(stdin=stdin))
        assert result.stdout.split()[1] == str(len(stdin))

    @behaviour
    async def test_a_large_input_that_nobody_reads_does_no_harm(self, machine: Machine) -> None:
        result = await machine.execute("exit 3", ExecuteOptions(stdin=b"x" * 5_000_000, timeout=20))
        assert (result.exit_code, result.timed_out) == (3, False)

    @behaviour
    async def test_large_input_and_output_at_once_do_not_block_each_other(self, machine: Machine) -> None:
        stdin = "x" * 2_000_000
        result = await machine.execute("cat", ExecuteOptions(stdin=stdin, max_output_bytes=None, timeout=30))
        assert len(result.stdout) == len(stdin)

    @behaviour
    async def test_env_is_added_and_holds_any_text(self, machine: Machine) -> None:
        options = ExecuteOptions(env={"GM_A": HOSTILE, "GM_EMPTY": ""})
        result = await machine.execute('printf "%s|%s|%s" "$GM_A" "${GM_EMPTY-unset}" "${HOME:+home}"', options)
        assert result.stdout == f"{HOSTILE}||home"
        assert not await machine.exists("pwned")
        assert (await machine.execute('printf %s "${GM_A-gone}"')).stdout == "gone"

    @behaviour
    async def test_the_environment_of_the_host_does_not_reach_the_machine(self, machine: Machine) -> None:
        name = "GITMACHINE_CONTRACT_SECRET"
        os.environ[name] = "of-the-host"
        try:
            result = await machine.execute(f"env; echo ${name}")
        finally:
            del os.environ[name]
        assert "of-the-host" not in result.stdout

    @behaviour
    async def test_cwd_is_where_the_command_runs(self, machine: Machine) -> None:
        await machine.execute("mkdir -p 'my dir/sub'")
        result = await machine.execute("pwd", ExecuteOptions(cwd="my dir/sub"))
        assert result.stdout.endswith("/my dir/sub\n")
        assert (await machine.execute("pwd", ExecuteOptions(cwd="/"))).stdout == "/\n"

    @behaviour
    async def test_a_cwd_that_is_not_there_is_an_error_naming_it(self, machine: Machine) -> None:
        for cwd in ("no/such place", "/no-such-place"):
            with pytest.raises(OSError, match=cwd):
                await machine.execute("true", ExecuteOptions(cwd=cwd))

    @behaviour
    async def test_a_hostile_cwd_is_only_a_name(self, machine: Machine) -> None:
        name = HOSTILE.replace("/", "")
        await machine.execute('mkdir -- "$NAME"', ExecuteOptions(env={"NAME": name}))
        result = await machine.execute("pwd", ExecuteOptions(cwd=name))
        assert result.stdout.endswith(f"/{name}\n")
        assert not await machine.exists("pwned")

    @behaviour
    async def test_commands_run_side_by_side(self, machine: Machine) -> None:
        await machine.execute("mkfifo there back")
        options = ExecuteOptions(timeout=20)
        one = machine.execute("echo ping >there; cat back", options)
        two = machine.execute("read x <there; echo $x-pong >back", options)
        first, _ = await asyncio.gather(one, two)
        assert first.stdout == "ping-pong\n"

    @behaviour
    async def test_ten_commands_at_once_keep_their_own_output(self, machine: Machine) -> None:
        results = await asyncio.gather(
            *(machine.execute(f"for i in 1 2 3; do echo {n}; done; exit {n}") for n in range(10))
        )
        assert [(r.exit_code, r.stdout) for r in results] == [(n, f"{n}\n" * 3) for n in range(10)]

    @behaviour
    async def test_a_child_left_behind_does_not_hold_the_call_up_and_lives_on(self, machine: Machine) -> None:
        result = await machine.execute(
            "mkfifo go; (read x <go; echo $x >lived; echo noise) & echo returned", ExecuteOptions(timeout=20)
        )
        assert (result.stdout, result.timed_out) == ("returned\n", False)
        await machine.execute("echo on >go", ExecuteOptions(timeout=20))
        waited = await machine.execute("until [ -s lived ]; do :; done; cat lived", ExecuteOptions(timeout=20))
        assert waited.stdout == "on\n"
