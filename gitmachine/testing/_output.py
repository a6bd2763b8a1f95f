"""How output is decoded, bounded and handed to callbacks."""

from __future__ import annotations

import asyncio

from gitmachine.machine import Machine
from gitmachine.testing._behaviour import Suite, behaviour
from gitmachine.types import ExecuteOptions

_LINES = "i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done"
_LINES_BYTES = sum(len(f"line-{n}\n") for n in range(20000))


class Output(Suite):
    """Rows about stdout, stderr and their callbacks."""

    @behaviour
    async def test_output_is_decoded_as_utf_8(self, machine: Machine) -> None:
        result = await machine.execute("printf 'é€😀'; printf '日本' >&2")
        assert (result.stdout, result.stderr) == ("é€😀", "日本")

    @behaviour
    async def test_bytes_that_are_no_utf_8_become_replacements(self, machine: Machine) -> None:
        result = await machine.execute(r"printf 'a\377b\303'")
        assert (result.exit_code, result.stdout) == (0, "a\ufffdb\ufffd")

    @behaviour
    async def test_a_character_split_over_two_writes_reaches_the_callback_whole(self, machine: Machine) -> None:
        seen: list[str] = []
        result = await machine.execute(
            r"printf 'a\342\202'; sleep 0.2; printf '\254b\360\237'; sleep 0.2; printf '\230\200'",
            ExecuteOptions(on_stdout=seen.append),
        )
        assert "".join(seen) == result.stdout == "a€b😀"
        assert all("\ufffd" not in text for text in seen)

    @behaviour
    async def test_callbacks_see_output_while_the_command_runs(self, machine: Machine) -> None:
        seen = asyncio.Event()
        await machine.execute("mkfifo go")

        async def release() -> None:
            await seen.wait()
            await machine.execute("echo x >go")

        options = ExecuteOptions(on_stdout=lambda _: seen.set(), timeout=20)
        result, _ = await asyncio.gather(machine.execute("echo early; read x <go; echo late", options), release())
        assert (result.stdout, result.timed_out) == ("early\nlate\n", False)

    @behaviour
    async def test_each_channel_has_its_own_callback(self, machine: Machine) -> None:
        out: list[str] = []
        err: list[str] = []
        options = ExecuteOptions(on_stdout=out.append, on_stderr=err.append)
        await machine.execute("echo one; echo two >&2", options)
        assert ("".join(out), "".join(err)) == ("one\n", "two\n")

    @behaviour
    async def test_a_callback_may_be_a_coroutine(self, machine: Machine) -> None:
        seen: list[str] = []

        async def later(text: str) -> None:
            await asyncio.sleep(0)
            seen.append(text)

        await machine.execute("echo one; echo two", ExecuteOptions(on_stdout=later))
        assert "".join(seen) == "one\ntwo\n"

    @behaviour
    async def test_a_callback_that_raises_harms_nothing(self, machine: Machine) -> None:
        def broken(text: str) -> None:
            raise RuntimeError(f"cannot take {text!r}")

        result = await machine.execute("echo one; echo two >&2; exit 3", ExecuteOptions(on_stdout=broken))
        assert (result.exit_code, result.stdout, result.stderr) == (3, "one\n", "two\n")

    @behaviour
    async def test_output_beyond_the_limit_keeps_head_and_tail_and_counts_the_cut(self, machine: Machine) -> None:
        result = await machine.execute(_LINES, ExecuteOptions(max_output_bytes=1000))
        assert result.truncated
        assert result.stdout.startswith("line-0\nline-1\n")
        assert result.stdout.endswith("line-19999\n")
        assert f"{_LINES_BYTES - 1000} bytes cut" in result.stdout
        assert len(result.stdout) < 1100

    @behaviour
    async def test_stderr_is_bounded_as_stdout_is(self, machine: Machine) -> None:
        result = await machine.execute(f"({_LINES}) >&2", ExecuteOptions(max_output_bytes=1000))
        assert result.truncated
        assert len(result.stderr) < 1100

    @behaviour
    async def test_output_of_exactly_the_limit_is_whole(self, machine: Machine) -> None:
        result = await machine.execute("printf 0123456789", ExecuteOptions(max_output_bytes=10))
        assert (result.stdout, result.truncated) == ("0123456789", False)

    @behaviour
    async def test_without_a_limit_everything_is_kept(self, machine: Machine) -> None:
        result = await machine.execute(_LINES * 1 + f"; {_LINES}", ExecuteOptions(max_output_bytes=None))
        assert (len(result.stdout), result.truncated) == (2 * _LINES_BYTES, False)

    @behaviour
    async def test_callbacks_see_what_the_limit_cuts(self, machine: Machine) -> None:
        seen: list[str] = []
        result = await machine.execute(_LINES, ExecuteOptions(max_output_bytes=100, on_stdout=seen.append))
        assert result.truncated
        assert "".join(seen) == "".join(f"line-{n}\n" for n in range(20000))
