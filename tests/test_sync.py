"""gitmachine.sync: sessions for programs without `await`."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gitmachine import GitMachine as AsyncGitMachine
from gitmachine import LocalMachine, MachineState, Process, PushRejected, RunOptions, StateError
from gitmachine import Machine as AsyncMachine
from gitmachine.sync import GitMachine, Machine, OwnerLoop, SessionOptions, shared
from gitmachine.sync import Process as SyncProcess
from tests import leaks
from tests.support.git_server import TOKEN, GitServer, Repository, git_server

__all__ = ["git_server"]

NOT_FOR_SYNC: dict[str, set[str]] = {
    "GitMachine": set(),
    "Process": set(),
    # What git and providers ask of each other; programs do not.
    "Machine": {
        "adapt",
        "adapts_before_start",
        "claim_spare",
        "execute_then",
        "keep_spare",
        "label",
        "network_refusals",
        "observer",
        "quiet",
        "read_chunks",
        "share_objects",
    },
}


@pytest.fixture
def project(git_server: GitServer) -> Repository:
    return git_server.repository()


@pytest.fixture
def gm(project: Repository, state_dir: Path) -> Iterator[GitMachine]:
    with GitMachine(machine=LocalMachine(), repository=project.url, token=TOKEN, session="fix-1") as session:
        yield session


def _public(cls: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("plain", "asynchronous"), [(GitMachine, AsyncGitMachine), (Process, SyncProcess), (Machine, AsyncMachine)]
)
def test_all_that_can_be_awaited_can_also_be_called(plain: type, asynchronous: type) -> None:
    assert _public(asynchronous) - _public(plain) == NOT_FOR_SYNC[asynchronous.__name__]


def test_nothing_of_the_api_without_await_gives_a_coroutine() -> None:
    for cls in (GitMachine, Machine, SyncProcess):
        assert not [name for name, member in inspect.getmembers(cls) if inspect.iscoroutinefunction(member)]


def test_the_options_are_those_of_the_session_that_is_awaited() -> None:
    parameters = inspect.signature(AsyncGitMachine.__init__).parameters.values()
    named = {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    assert set(SessionOptions.__annotations__) == named


def test_methods_keep_their_signature_and_their_words() -> None:
    assert inspect.signature(GitMachine.diff) == inspect.signature(AsyncGitMachine.diff)
    assert GitMachine.diff.__doc__ == AsyncGitMachine.diff.__doc__


def test_a_session_from_start_to_stop_without_await(project: Repository, state_dir: Path) -> None:
    with GitMachine(machine=LocalMachine(), repository=project.url, token=TOKEN, session="fix-1") as gm:
        assert gm.run("true", timeout=5).ok
        assert gm.run("cat src/app.py").stdout == "print('hello')\n"
        gm.write_file("new.txt", "new\n")
        assert "+new" in gm.diff()
        assert [change.path for change in gm.status().changes] == ["new.txt"]
        sha = gm.commit("Say something new")
        gm.pause()
        assert gm.machine.state is MachineState.PAUSED
        gm.resume()
        assert gm.hash() == sha
    assert gm.state is MachineState.STOPPED
    assert project.heads()["fix-1"] == sha
    assert [entry.command for entry in gm.logs()] == ["true", "cat src/app.py"]


def test_an_exception_in_the_block_makes_the_work_safe_and_ends_the_machine(
    project: Repository, state_dir: Path
) -> None:
    gm = GitMachine(machine=LocalMachine(), repository=project.url, token=TOKEN, session="fix-1")
    with pytest.raises(ZeroDivisionError), gm:
        print(1 // len(gm.run("echo kept > kept.txt").stdout))
    assert gm.state is MachineState.STOPPED
    assert project.git("show", "fix-1:kept.txt") == "kept"


def test_errors_are_raised_as_they_are(gm: GitMachine, project: Repository) -> None:
    gm.run("echo mine > mine.txt")
    gm.commit()
    project.reject_pushes()
    with pytest.raises(PushRejected) as error:
        gm.push()
    assert error.value.outcome.where == "vault"
    project.accept_pushes()


def test_several_threads_drive_one_session(gm: GitMachine) -> None:
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda n: gm.run(f"echo {n}").stdout.strip(), range(8)))
    assert results == [str(n) for n in range(8)]


def test_output_comes_while_the_command_runs(gm: GitMachine) -> None:
    first = threading.Event()
    seen = []

    def on_stdout(text: str) -> None:
        seen.append((text, threading.current_thread()))
        first.set()

    with ThreadPoolExecutor(1) as thread:
        job = thread.submit(gm.run, "echo one; read; echo two", RunOptions(on_stdout=on_stdout, timeout=30))
        assert first.wait(10)
        assert not job.done() or job.result().stdout == "one\ntwo\n"
        job.result()
    assert "".join(text for text, _ in seen) == "one\ntwo\n"
    assert shared().owns_this_thread() is False
    assert all(thread.name != "gitmachine" for _, thread in seen)


def test_callbacks_get_this_kind_of_session_and_may_call_it(project: Repository, state_dir: Path) -> None:
    heard: list[tuple[str, Any]] = []

    def on_start(gm: GitMachine) -> None:
        heard.append(("start", gm.run("echo from the hook").stdout))

    def on_event(event: str, data: dict[str, Any], gm: GitMachine) -> None:
        if event == "started":
            heard.append((event, gm.session))

    codes: list[int] = []
    with GitMachine(LocalMachine(), project.url, TOKEN, session="a", on_start=on_start, on_event=on_event) as gm:
        gm.run("exit 3", on_exit=codes.append)
        gm.update({"WORD": "hi"}, on_update=lambda gm: heard.append(("update", gm.run("echo $WORD").stdout)))
    assert codes == [3]
    assert heard == [("started", "a"), ("start", "from the hook\n"), ("update", "hi\n")]


def test_a_background_command_can_be_followed(gm: GitMachine) -> None:
    process = gm.spawn("read word; echo got $word")
    process.write_stdin("it\n")
    assert process.wait(timeout=30).stdout == "got it\n"
    assert not process.running()
    assert gm.machine.process(process.id).output().text == "got it\n"


def test_events_can_be_watched_to_the_end(project: Repository, state_dir: Path) -> None:
    gm = GitMachine(LocalMachine(), project.url, TOKEN, session="seen")
    gm.start()
    with ThreadPoolExecutor(1) as thread:
        watching = thread.submit(lambda: [event.name for event in gm.watch()])
        gm.run("true")
        gm.stop()
        names = watching.result(timeout=30)
    assert names[0] == "started"
    assert names[-1] == "stopped"
    assert [event.name for event in gm.events(limit=1)] == ["started"]


def test_watching_can_be_left_in_the_middle(gm: GitMachine) -> None:
    for event in gm.watch():
        assert event.name == "started"
        break
    assert gm.run("true").ok


def test_a_session_is_taken_up_again(gm: GitMachine) -> None:
    gm.run("echo 1 > one.txt")
    again = GitMachine.reopen("fix-1", TOKEN)
    assert again.read_file("one.txt") == "1\n"
    assert gm.id is not None
    third = GitMachine.connect(gm.owner.run(LocalMachine.connect(gm.id)), token=TOKEN)
    assert third.session == "fix-1"
    assert [entry.command for entry in third.logs()] == ["echo 1 > one.txt"]


def test_a_session_can_be_looked_back_on_rewound_and_forked(project: Repository, state_dir: Path) -> None:
    heard: list[tuple[str, str]] = []

    def on_event(event: str, data: dict[str, Any], gm: GitMachine) -> None:
        heard.append((event, gm.session))

    with GitMachine(LocalMachine(), project.url, TOKEN, session="one", on_event=on_event) as gm:
        gm.run("echo 1 > a.txt")
        gm.run("echo 2 > a.txt")
        assert [entry.number for entry in gm.history()] == [1, 2]
        fork = gm.fork("two", at=1)
        assert fork.read_file("a.txt") == "1\n"
        fork.stop()
        gm.rewind(1)
        assert gm.read_file("a.txt") == "1\n"
        assert gm.machine.another().state is MachineState.IDLE
    assert {session for _, session in heard} <= {"one", "two"}
    assert ("stopped", "one") in heard


def test_a_machine_alone_can_be_used(state_dir: Path) -> None:
    with Machine(LocalMachine()) as machine:
        machine.write_file("a.txt", "text")
        machine.write_bytes("b.bin", b"\0")
        assert machine.execute("cat a.txt").stdout == "text"
        assert machine.list_files(".") == ["a.txt", "b.bin"]
        assert machine.exists("b.bin")
        assert machine.capabilities.isolation == "bubblewrap"
    assert machine.state is MachineState.STOPPED


# --- the loop ------------------------------------------------------------------------------------------------


def test_a_call_on_the_loops_own_thread_is_an_error_and_not_a_deadlock(gm: GitMachine) -> None:
    async def on_stdout(_: str) -> None:
        with pytest.raises(StateError, match="would wait for ever"):
            gm.run("true")
        seen.append(True)

    seen: list[bool] = []

    async def on_the_loop() -> None:
        await gm.asynchronous.run("echo x", on_stdout=on_stdout)

    gm.owner.run(on_the_loop())
    assert seen == [True]


async def test_a_session_can_be_awaited_from_any_loop(gm: GitMachine) -> None:
    assert (await gm.owner.arun(gm.asynchronous.run("echo here"))).stdout == "here\n"
    result = await asyncio.to_thread(lambda: asyncio.run(gm.owner.arun(gm.asynchronous.run("echo there"))))
    assert result.stdout == "there\n"


async def test_cancelling_the_caller_kills_the_command_before_the_cancellation_goes_on(gm: GitMachine) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_stdout(_: str) -> None:
        loop.call_soon_threadsafe(started.set)

    task = asyncio.create_task(gm.owner.arun(gm.asynchronous.run("echo up; sleep 4321", on_stdout=on_stdout)))
    async with asyncio.timeout(10):
        await started.wait()
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 2
    left = await gm.owner.arun(gm.asynchronous.machine.execute("pgrep -f '[s]leep 4321'"))
    assert left.stdout == ""


def test_what_is_called_after_the_end_is_refused() -> None:
    owner = OwnerLoop("short-lived")
    assert owner.run(asyncio.sleep(0, "done")) == "done"
    owner.close()
    owner.close()
    with pytest.raises(StateError, match="closed"):
        owner.run(asyncio.sleep(0))
    assert "short-lived" not in {thread.name for thread in threading.enumerate()}


def test_closing_cancels_what_still_runs() -> None:
    owner = OwnerLoop("cut-short")
    cleaned = threading.Event()
    running = threading.Event()

    async def work() -> None:
        try:
            running.set()
            await asyncio.sleep(3600)
        finally:
            cleaned.set()

    with ThreadPoolExecutor(1) as thread:
        job = thread.submit(owner.run, work())
        assert running.wait(10)
        owner.close()
        assert cleaned.is_set()
        assert job.exception(timeout=10) is not None


def test_an_interrupted_wait_cancels_what_it_waited_for() -> None:
    owner = OwnerLoop("interrupted")
    waiting = threading.get_ident()
    cleaned = threading.Event()

    async def work() -> None:
        signal.pthread_kill(waiting, signal.SIGINT)
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.set()

    with pytest.raises(KeyboardInterrupt):
        owner.run(work())
    assert cleaned.is_set()
    owner.close()


# --- whole programs ------------------------------------------------------------------------------------------

_PROGRAM = """
import os, sys
from gitmachine import LocalMachine, MachineState, StateError
from gitmachine.sync import GitMachine
"""


def _program(code: str, *words: str, stdin: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", _PROGRAM + code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=stdin,
    )


def _said(program: subprocess.Popen[str]) -> str:
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    assert not err
    return out


def test_ctrl_c_ends_the_command_and_the_session_ends_in_order(state_dir: Path) -> None:
    program = _program(
        """
try:
    with GitMachine(LocalMachine()) as gm:
        gm.run("echo up; sleep 4322", on_stdout=lambda text: print(text, end="", flush=True))
except KeyboardInterrupt:
    print("interrupted", gm.state)
"""
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "up\n"
    program.send_signal(signal.SIGINT)
    assert _said(program) == "interrupted stopped\n"
    assert not leaks.processes(str(state_dir))


def test_a_program_that_ends_without_stopping_leaves_a_session_that_another_takes_up(state_dir: Path) -> None:
    began = time.monotonic()
    machine_id = _said(
        _program('gm = GitMachine(LocalMachine(), session="left"); gm.start(); gm.run("echo x > x"); print(gm.id)')
    ).strip()
    assert time.monotonic() - began < 10
    gm = GitMachine.reopen("left")
    assert gm.id == machine_id
    assert gm.read_file("x") == "x\n"
    gm.stop()


def test_the_end_of_the_program_is_not_held_up_by_a_call_under_way(state_dir: Path) -> None:
    began = time.monotonic()
    machine_id = _said(
        _program(
            """
import threading
up = threading.Event()
gm = GitMachine(LocalMachine(), session="busy")
gm.start()
call = lambda: gm.run("echo; sleep 4323", on_stdout=lambda text: up.set())
def quietly():
    try:
        call()
    except BaseException:
        pass
threading.Thread(target=quietly, daemon=True).start()
assert up.wait(30)
print(gm.id)
"""
        )
    ).strip()
    assert time.monotonic() - began < 20
    gm = GitMachine.reopen("busy")
    assert gm.id == machine_id
    assert leaks.until(lambda: gm.machine.execute("pgrep -f '[s]leep 4323'").stdout == "", 5)
    gm.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_so_and_can_take_the_session_up_for_itself(state_dir: Path) -> None:
    said = _said(
        _program(
            """
gm = GitMachine(LocalMachine(), session="forked")
gm.start()
child = os.fork()
if child == 0:
    try:
        gm.run("true")
    except StateError as error:
        print("forked from" if "was forked" in str(error) else error, flush=True)
    mine = GitMachine.reopen("forked")
    print(mine.run("echo child").stdout, end="", flush=True)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print(gm.run("echo parent").stdout, end="")
gm.stop()
"""
        )
    )
    assert said == "forked from\nchild\nparent\n"
