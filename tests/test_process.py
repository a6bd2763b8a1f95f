"""Background commands on a machine of ten members, beyond what the contract asks of every provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gitmachine.errors import ConfigurationError, ProcessNotFound, StateError
from gitmachine.machine import Machine
from gitmachine.types import ExecuteOptions
from tests.providers.plain import PlainMachine


@pytest.fixture
async def machine(state_dir: object) -> AsyncIterator[Machine]:
    machine = PlainMachine()
    await machine.start()
    try:
        yield machine
    finally:
        await machine.stop()


async def test_wait_gives_exit_code_and_both_outputs(machine: Machine) -> None:
    process = await machine.spawn("echo out; echo err >&2; exit 7")
    result = await process.wait(timeout=10)
    assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert not await process.running()
    assert (await process.wait(timeout=10)).exit_code == 7


async def test_output_is_read_by_cursor_and_never_splits_a_character(machine: Machine) -> None:
    process = await machine.spawn("printf 'aé€😀z'")
    await process.wait(timeout=10)
    after, texts, done = 0, [], False
    while not done:
        chunk = await process.output(after, max_bytes=4)
        assert len(chunk.data) <= 4
        texts.append(chunk.text)
        after, done = chunk.next, chunk.done
    assert "".join(texts) == "aé€😀z"
    assert "\ufffd" not in "".join(texts)


async def test_half_a_character_at_the_very_end_is_given_as_a_replacement(machine: Machine) -> None:
    process = await machine.spawn(r"printf 'a\303'")
    await process.wait(timeout=10)
    chunk = await process.output()
    assert (chunk.data, chunk.text, chunk.done) == (b"a\xc3", "a\ufffd", True)


async def test_stdin_is_open_until_it_is_closed(machine: Machine) -> None:
    process = await machine.spawn("cat; echo end")
    await process.write_stdin("one\n")
    await process.write_stdin(b"two\n")
    await process.close_stdin()
    await process.close_stdin()
    assert (await process.wait(timeout=10)).stdout == "one\ntwo\nend\n"
    with pytest.raises(StateError, match="takes no more input"):
        await process.write_stdin("three\n")


async def test_stdin_given_at_the_start_is_all_of_it(machine: Machine) -> None:
    process = await machine.spawn("cat", ExecuteOptions(stdin="x" * 300_000))
    assert len((await process.wait(timeout=10)).stdout) == 300_000


async def test_a_timeout_kills_the_tree_and_is_reported(machine: Machine) -> None:
    process = await machine.spawn(
        "echo begun; (setsid sleep 1000; echo never) & sleep 1000", ExecuteOptions(timeout=0.3)
    )
    result = await process.wait(timeout=10)
    assert (result.exit_code, result.timed_out, result.stdout) == (124, True, "begun\n")
    left = await machine.execute(f"grep -lsF GITMACHINE_JOB={process.id} /proc/[0-9]*/environ | wc -l")
    assert left.stdout.strip() == "0"
    assert result.duration < 5


async def test_a_tiny_timeout_is_a_timeout_too(machine: Machine) -> None:
    process = await machine.spawn("sleep 1000", ExecuteOptions(timeout=0.001))
    assert (await process.wait(timeout=10)).timed_out


async def test_kill_reaches_processes_that_changed_session_or_environment(machine: Machine) -> None:
    process = await machine.spawn(
        "setsid sh -c 'echo $$ >a; exec sleep 1000' & env -i sh -c 'echo $$ >b; exec sleep 1000' & "
        "(setsid sh -c 'echo $$ >c; exec sleep 1000' &) ; mkfifo go; read x <go"
    )
    await machine.execute("until [ -s a ] && [ -s b ] && [ -s c ]; do :; done", ExecuteOptions(timeout=10))
    await process.kill()
    assert not await process.running()
    alive = await machine.execute(r"for f in a b c; do grep -s '^State:\s*[^ZX[:space:]]' /proc/$(cat $f)/status; done")
    assert alive.stdout == ""
    assert (await process.wait(timeout=10)).exit_code == 137


async def test_interrupt_reaches_the_command_and_its_children(machine: Machine) -> None:
    process = await machine.spawn("trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done")
    while not (await process.output()).text:
        await machine.execute("true")
    await process.interrupt()
    result = await process.wait(timeout=10)
    assert (result.exit_code, result.stdout) == (3, "ready\ncaught\n")
    await process.interrupt()


async def test_an_uncaught_interrupt_ends_the_command(machine: Machine) -> None:
    process = await machine.spawn("exec sleep 1000")
    await process.interrupt()
    assert (await process.wait(timeout=10)).exit_code == 130


async def test_wait_gives_up_after_its_timeout_and_the_command_goes_on(machine: Machine) -> None:
    process = await machine.spawn("read x; echo got $x")
    with pytest.raises(TimeoutError, match="still runs"):
        await process.wait(timeout=0.2)
    assert await process.running()
    await process.write_stdin("it\n")
    assert (await process.wait(timeout=10)).stdout == "got it\n"


async def test_many_can_wait_for_one_command(machine: Machine) -> None:
    process = await machine.spawn("read x; exit 5")
    waits = [asyncio.create_task(process.wait(timeout=20)) for _ in range(5)]
    await process.close_stdin()
    assert [result.exit_code for result in await asyncio.gather(*waits)] == [5] * 5


async def test_a_command_is_found_again_by_its_id(machine: Machine) -> None:
    process = await machine.spawn("read x; echo $x")
    found = await machine.process(process.id)
    await found.write_stdin("again\n")
    assert (await found.wait(timeout=10)).stdout == "again\n"


@pytest.mark.parametrize("name", ["", "../../x", "0" * 16, "$(touch pwned)", "a'b"])
async def test_an_unknown_id_is_an_error_of_its_own(machine: Machine, name: str) -> None:
    with pytest.raises(ProcessNotFound, match=r"spawn\(\) gives the ids"):
        await machine.process(name)
    assert not await machine.exists("pwned")


async def test_hostile_values_stay_values(machine: Machine) -> None:
    text = "a'b\"c$(touch pwned)`touch pwned`\n;touch pwned\\"
    await machine.make_dir(text)
    env = {"X": text, "ODD.NAME-": text, "PATH": "/nowhere", "HOME": "/nowhere", "IFS": "/", "-i": "v"}
    process = await machine.spawn('/usr/bin/printf "%s" "$X"; /usr/bin/pwd; exit 4', ExecuteOptions(cwd=text, env=env))
    result = await process.wait(timeout=10)
    assert result.exit_code == 4
    assert result.stdout.startswith(text)
    assert result.stdout.endswith(text + "\n")
    assert not await machine.exists("pwned")


async def test_callbacks_and_impossible_names_are_refused(machine: Machine) -> None:
    for options in (
        ExecuteOptions(on_stdout=print),
        ExecuteOptions(env={"A=B": "c"}),
        ExecuteOptions(env={"": "c"}),
        ExecuteOptions(env={"A": "\0"}),
    ):
        with pytest.raises(ConfigurationError):
            await machine.spawn("true", options)
    with pytest.raises(ConfigurationError):
        await (await machine.spawn("true")).output(-1)


async def test_a_long_output_is_cut_in_the_result_and_whole_by_cursor(machine: Machine) -> None:
    process = await machine.spawn("head -c 200000 /dev/zero | tr '\\0' x", ExecuteOptions(max_output_bytes=1000))
    result = await process.wait(timeout=10)
    assert result.truncated
    assert len(result.stdout) < 1200
    after, done = 0, False
    while not done:
        chunk = await process.output(after)
        after, done = chunk.next, chunk.done
    assert after == 200_000


async def test_a_command_whose_supervisor_was_killed_can_still_be_waited_for_and_killed(machine: Machine) -> None:
    process = await machine.spawn("echo begun; exec sleep 1000")
    await machine.execute(f"kill -9 $(cat .gitmachine/jobs/{process.id}/supervisor)")
    result = await process.wait(timeout=10)
    assert (result.exit_code, result.stdout) == (137, "begun\n")
    await process.kill()
    marked = await machine.execute(f"grep -lsF GITMACHINE_JOB={process.id} /proc/[0-9]*/environ")
    assert marked.stdout == ""


async def test_many_commands_start_at_once_and_keep_their_own_output(machine: Machine) -> None:
    processes = await asyncio.gather(*(machine.spawn(f"echo {n}; exit {n}") for n in range(8)))
    results = await asyncio.gather(*(process.wait(timeout=20) for process in processes))
    assert [(result.exit_code, result.stdout) for result in results] == [(n, f"{n}\n") for n in range(8)]
