"""From start to stop: what happens in which order, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gitmachine import (
    CallbackError,
    ConfigurationError,
    ExecutionResult,
    FileError,
    GitMachine,
    MachineState,
    RunOptions,
    StateError,
    settings,
)
from tests.session.conftest import MachineMaker, Opener, out, said
from tests.support.git_server import TOKEN, Repository


async def test_a_session_goes_from_start_to_stop_and_its_branch_is_on_the_remote(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    states = [gm.state]
    assert await out(gm, "git branch --show-current") == "fix-1"
    await gm.run("echo work > work.txt")
    await gm.pause()
    states.append(gm.state)
    await gm.resume()
    outcome = await gm.stop()
    states.append(gm.state)
    assert states == ["running", "paused", "stopped"]
    assert outcome.where == "remote"
    assert project.heads()["fix-1"] == outcome.sha
    assert project.git("show", "fix-1:work.txt") == "work"
    assert await said(gm) == ["started", "committed", "paused", "resumed", "pushed", "stopping", "stopped"]


async def test_a_session_that_did_nothing_leaves_no_branch(session: Opener, project: Repository) -> None:
    gm = await session()
    assert (await gm.stop()).where == "nothing"
    assert set(project.heads()) == {"main"}


async def test_without_a_session_name_a_branch_is_made_and_the_default_branch_is_left_alone(
    session: Opener, project: Repository
) -> None:
    before = project.heads()["main"]
    gm = await session(session=None)
    await gm.run("echo work > work.txt")
    await gm.stop()
    assert gm.session.startswith("gitmachine/")
    assert project.heads()["main"] == before
    assert gm.session in project.heads()


async def test_the_next_session_of_the_same_name_goes_on_with_its_branch(session: Opener) -> None:
    first = await session()
    await first.run("echo one > work.txt")
    await first.stop()
    second = await session()
    assert await out(second, "cat work.txt; git log --format=%s -1") == "one\nauto-commit on stop"
    await second.stop()


async def test_a_branch_that_somebody_else_pushed_is_checked_out(session: Opener, project: Repository) -> None:
    project.git("branch", "fix-1", "main")
    project.commit("fix-1", {"theirs.txt": "theirs\n"})
    gm = await session()
    assert await out(gm, "cat theirs.txt") == "theirs"


async def test_a_session_starts_from_its_base(session: Opener, project: Repository) -> None:
    project.git("branch", "release", "main")
    project.commit("release", {"only-here.txt": "x\n"})
    gm = await session(base="release")
    assert await out(gm, "cat only-here.txt") == "x"
    assert "no-such" not in await gm.diff("session")


async def test_a_session_without_a_repository_starts_empty(session: Opener, make_machine: MachineMaker) -> None:
    machine = make_machine()
    gm = GitMachine(machine, session="scratch")
    try:
        await gm.start()
        await gm.run("echo hello > hello.txt")
        sha = await gm.commit("the first")
        assert sha == await gm.hash()
        assert (await gm.stop()).where == "vault"
    finally:
        await machine.stop()


async def test_an_empty_repository_gets_its_first_commit(session: Opener, git_server: Any) -> None:
    empty = git_server.empty("empty")
    gm = await session(empty)
    await gm.run("echo hello > hello.txt")
    assert "hello.txt" in await gm.diff()
    await gm.stop()
    assert set(empty.heads()) == {"fix-1"}


@pytest.mark.parametrize("default", ["main", "master", "trunk"])
async def test_the_default_branch_may_have_any_name(session: Opener, git_server: Any, default: str) -> None:
    repository = git_server.repository(f"on-{default}", default=default)
    gm = await session(repository)
    await gm.run("echo work > work.txt")
    await gm.stop()
    assert set(repository.heads()) == {default, "fix-1"}


async def test_a_callback_may_be_a_function_or_a_coroutine_and_can_use_the_session(session: Opener) -> None:
    calls: list[str] = []

    async def on_start(gm: GitMachine) -> None:
        calls.append(f"start {(await gm.run('echo hi')).stdout.strip()}")

    async def on_end(gm: GitMachine) -> None:
        await gm.run("echo late > late.txt")
        calls.append("end")

    gm = await session(
        on_start=on_start,
        on_pause=lambda gm: calls.append(f"pause {gm.state}"),
        on_resume=lambda gm: calls.append(f"resume {gm.state}"),
        on_end=on_end,
    )
    await gm.pause()
    await gm.resume()
    outcome = await gm.stop()
    assert calls == ["start hi", "pause running", "resume running", "end"]
    assert outcome.where == "remote", "what on_end wrote is published too"


async def test_a_failing_on_start_leaves_no_machine(session: Opener, make_machine: MachineMaker) -> None:
    machine = make_machine()

    def broken(gm: GitMachine) -> None:
        raise ZeroDivisionError

    with pytest.raises(CallbackError, match="on_start raised ZeroDivisionError") as caught:
        await session(machine=machine, on_start=broken)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert machine.state is MachineState.STOPPED


async def test_a_failing_on_end_is_raised_when_the_machine_is_gone_and_the_work_is_safe(
    session: Opener, project: Repository
) -> None:
    def broken(gm: GitMachine) -> None:
        raise ZeroDivisionError

    gm = await session(on_end=broken)
    await gm.run("echo work > work.txt")
    with pytest.raises(CallbackError):
        await gm.stop()
    assert gm.state is MachineState.STOPPED
    assert "fix-1" in project.heads()


async def test_an_observer_that_raises_harms_nothing(session: Opener) -> None:
    async def broken(event: str, data: dict[str, Any], gm: GitMachine) -> None:
        raise RuntimeError(event)

    gm = await session(on_event=broken)
    await gm.run("true")
    failed = [event for event in await gm.events() if event.name == "callback_failed"]
    assert failed
    await gm.stop()


async def test_an_observer_that_hangs_is_left_behind(session: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitmachine.observers.CALLBACK_LIMIT_S", 0.05)

    async def hanging(event: str, data: dict[str, Any], gm: GitMachine) -> None:
        await asyncio.Event().wait()

    gm = await session(on_event=hanging)
    async with asyncio.timeout(30):
        await gm.run("true")
        await gm.stop()


async def test_events_have_the_public_names_and_keys(session: Opener) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    gm = await session(on_event=lambda event, data, gm: seen.append((event, data)))
    await gm.run("echo work > work.txt")
    await gm.commit("message")
    await gm.push()
    await gm.pull()
    await gm.pause()
    await gm.resume()
    await gm.stop()
    data = dict(seen)
    assert data["started"].keys() >= {"session", "repo_path"}
    assert data["committed"].keys() >= {"sha", "message"}
    assert {"paused", "resumed", "stopping", "stopped", "pushed", "pulled"} <= data.keys()
    numbers = [event.seq for event in await gm.events()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_watching_shows_every_event_once_and_ends_with_the_session(session: Opener) -> None:
    gm = await session()

    async def watch() -> list[int]:
        return [event.seq async for event in gm.watch()]

    watching = asyncio.create_task(watch())
    await gm.run("true")
    await gm.stop()
    async with asyncio.timeout(10):
        seen = await watching
    assert seen == list(range(1, len(await gm.events()) + 1))


async def test_async_with_starts_and_stops(make_machine: MachineMaker, project: Repository, state_dir: object) -> None:
    async with GitMachine(make_machine(), project.url, TOKEN, session="ctx") as gm:
        await gm.run("echo work > work.txt")
    assert gm.state is MachineState.STOPPED
    assert "ctx" in project.heads()


async def test_after_an_exception_the_work_is_safe_and_the_machine_gone(
    make_machine: MachineMaker, project: Repository, state_dir: object
) -> None:
    gm = GitMachine(make_machine(), project.url, TOKEN, session="ctx")

    async def work_and_fail() -> None:
        async with gm:
            await gm.run("echo work > work.txt")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work_and_fail()
    assert gm.state is MachineState.STOPPED
    assert project.git("show", "ctx:work.txt") == "work"


CALLS: dict[str, Any] = {
    "start": lambda gm: gm.start(),
    "pause": lambda gm: gm.pause(),
    "resume": lambda gm: gm.resume(),
    "stop": lambda gm: gm.stop(),
    "run": lambda gm: gm.run("true"),
    "spawn": lambda gm: gm.spawn("true"),
    "diff": lambda gm: gm.diff(),
    "commit": lambda gm: gm.commit(),
    "push": lambda gm: gm.push(),
    "pull": lambda gm: gm.pull(),
    "hash": lambda gm: gm.hash(),
    "status": lambda gm: gm.status(),
    "read_file": lambda gm: gm.read_file("README.md"),
    "write_file": lambda gm: gm.write_file("x", "x"),
    "list_files": lambda gm: gm.list_files(),
}
WORKS = {
    MachineState.RUNNING: CALLS.keys() - {"start", "resume"},
    MachineState.PAUSED: {"resume", "stop", "diff", "commit", "push", "pull", "hash", "status"},
    MachineState.IDLE: {"start"},
    MachineState.STOPPED: set[str](),
}
HELP = {
    MachineState.IDLE: "start()",
    MachineState.PAUSED: "resume()",
    MachineState.STOPPED: "new GitMachine",
    MachineState.RUNNING: "running already",
}


@pytest.mark.parametrize("state", list(MachineState))
async def test_a_call_that_does_not_fit_the_state_is_an_error_that_names_the_one_that_does(
    session: Opener, make_machine: MachineMaker, project: Repository, state: MachineState
) -> None:
    gm = await _in_state(state, session, make_machine, project)
    for name in CALLS.keys() - WORKS[state]:
        with pytest.raises(StateError) as caught:
            await CALLS[name](gm)
        assert HELP[state] in str(caught.value), name
        assert gm.state is state, name


@pytest.mark.parametrize("state", [MachineState.RUNNING, MachineState.PAUSED])
async def test_the_other_calls_work_in_that_state_and_keep_it(
    session: Opener, make_machine: MachineMaker, project: Repository, state: MachineState
) -> None:
    gm = await _in_state(state, session, make_machine, project)
    for name in WORKS[state] - {"pause", "resume", "stop"}:
        await CALLS[name](gm)
        assert gm.state is state, name


async def _in_state(
    state: MachineState, session: Opener, make_machine: MachineMaker, project: Repository
) -> GitMachine:
    if state is MachineState.IDLE:
        return GitMachine(make_machine(), project.url, TOKEN, session="fix-1")
    gm = await session()
    if state is MachineState.PAUSED:
        await gm.pause()
    if state is MachineState.STOPPED:
        await gm.stop()
    assert gm.state is state
    return gm


async def test_a_paused_session_can_be_stopped_and_its_work_is_on_the_remote(
    session: Opener, project: Repository
) -> None:
    gm = await session()
    await gm.run("echo work > work.txt")
    await gm.pause()
    assert (await gm.stop()).where == "remote"
    assert project.git("show", "fix-1:work.txt") == "work"


async def test_run_takes_options_as_an_object_or_as_keywords(session: Opener) -> None:
    codes: list[int] = []
    gm = await session(env={"A": "session"})
    result = await gm.run("echo $A $B; pwd; exit 3", RunOptions(env={"B": "call"}), on_exit=codes.append)
    assert result.stdout == f"session call\n{gm.path}\n"
    assert codes == [3]
    with pytest.raises(ConfigurationError, match="unknown option tiemout"):
        await gm.run("true", tiemout=3)


async def test_update_adds_to_the_environment_of_later_commands(session: Opener) -> None:
    gm = await session(env={"A": "1"})
    updated: list[str] = []
    await gm.update(env={"B": "2"}, on_update=lambda gm: updated.append(gm.session))
    assert await out(gm, "echo $A $B") == "1 2"
    assert updated == ["fix-1"]


async def test_the_sessions_timeout_bounds_a_command(session: Opener) -> None:
    gm = await session(timeout=0.5)
    result = await gm.run("echo before; sleep 100")
    assert (result.exit_code, result.timed_out, result.stdout) == (124, True, "before\n")
    assert (await gm.run("sleep 1; echo done", timeout=60)).stdout == "done\n"


async def test_logs_have_each_command_with_its_result_also_after_a_reconnect(session: Opener) -> None:
    gm = await session()
    await gm.run("echo one")
    await gm.run("exit 4")
    assert [(entry.command, entry.result.exit_code) for entry in gm.logs()] == [("echo one", 0), ("exit 4", 4)]
    again = await GitMachine.connect(gm.machine, token=TOKEN)
    assert [entry.command for entry in again.logs()] == ["echo one", "exit 4"]
    assert again.logs()[0].result.stdout == "one\n"
    assert (await again.events())[-1].name == "reconnected"


async def test_what_a_result_cannot_hold_is_kept_whole_on_the_host(session: Opener) -> None:
    gm = await session()
    result: ExecutionResult = await gm.run("seq 1 20000", max_output_bytes=1000)
    assert result.truncated
    assert len(result.stdout) < 1200
    assert result.output_path is not None
    with open(result.output_path) as file:
        assert file.read() == "".join(f"{number}\n" for number in range(1, 20001))
    assert (await gm.run("echo short")).output_path is None


async def test_output_that_cannot_be_kept_costs_neither_result_nor_checkpoint(session: Opener) -> None:
    gm = await session()
    (settings.load().sessions / gm.record.id / "output").write_text("in the way")
    seen: list[str] = []
    result = await gm.run("seq 1 200000 | tee numbers", max_output_bytes=1000, on_stdout=seen.append)
    assert result.truncated
    assert result.output_path is None
    assert "".join(seen) == "".join(f"{number}\n" for number in range(1, 200001))
    assert (await gm.history(1))[0].changed == 1


async def test_files_can_be_read_written_edited_and_listed_by_paths_in_the_checkout(
    session: Opener, tmp_path: Any
) -> None:
    gm = await session()
    await gm.write_file("new/file.txt", "one two\n")
    await gm.edit_file("new/file.txt", "two", "three")
    assert await gm.read_file("new/file.txt") == "one three\n"
    assert await gm.list_files("new") == ["file.txt"]
    await gm.upload(__file__, "copy.py")
    await gm.download("copy.py", tmp_path / "copy.py")
    with open(__file__, "rb") as file:
        assert (tmp_path / "copy.py").read_bytes() == file.read()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "link/x", "a/../../x", "."])
async def test_a_path_out_of_the_checkout_is_refused_links_included(session: Opener, path: str) -> None:
    gm = await session()
    await gm.run("ln -s /tmp link")
    if path == ".":
        assert "README.md" in await gm.list_files(path)
        return
    with pytest.raises(OSError, match="leads out of the checkout"):
        await gm.write_file(path, "x")


async def test_an_edit_needs_exactly_one_match(session: Opener) -> None:
    gm = await session()
    await gm.write_file("f", "a a")
    for old in ("a", "b", ""):
        with pytest.raises(OSError, match="times, not once"):
            await gm.edit_file("f", old, "x")
    assert await gm.read_file("f") == "a a"
    await gm.write_file("binary", b"a\xff")
    with pytest.raises(FileError, match="not UTF-8 text"):
        await gm.edit_file("binary", "a", "x")
    assert await gm.read_bytes("binary") == b"a\xff"
