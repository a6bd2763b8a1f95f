"""The values that travel between the rooms."""

from __future__ import annotations

import posixpath
from dataclasses import FrozenInstanceError, fields

import pytest

from gitmachine.paths import relative
from gitmachine.types import DEFAULT_MAX_OUTPUT_BYTES, ExecuteOptions, ExecutionResult, MachineState, RunOptions


def test_the_states_read_as_their_names() -> None:
    assert [str(state) for state in MachineState] == ["idle", "running", "paused", "stopped"]
    assert MachineState("paused") is MachineState.PAUSED


def test_options_are_bounded_and_otherwise_empty_by_default() -> None:
    options = ExecuteOptions()
    assert options.max_output_bytes == DEFAULT_MAX_OUTPUT_BYTES
    assert (options.cwd, options.timeout, options.stdin, dict(options.env)) == (None, None, None, {})


def test_changing_options_gives_a_copy() -> None:
    options = ExecuteOptions(cwd="a", env={"A": "1"})
    changed = options.with_(cwd="b", timeout=3)
    assert (options.cwd, options.timeout) == ("a", None)
    assert (changed.cwd, changed.timeout, changed.env) == ("b", 3, {"A": "1"})
    with pytest.raises(FrozenInstanceError):
        options.cwd = "c"  # type: ignore[misc]  # the very thing under test


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="tmieout"):
        ExecuteOptions().with_(tmieout=3)


def test_a_machine_is_given_all_of_the_run_options_but_on_exit() -> None:
    run = RunOptions(
        cwd="a", env={"A": "1"}, timeout=3, stdin=b"x", on_stdout=print, on_stderr=print, max_output_bytes=7,
        on_exit=print,
    )  # fmt: skip
    options = run.execute_options()
    assert type(options) is ExecuteOptions
    assert all(getattr(options, field.name) == getattr(run, field.name) for field in fields(ExecuteOptions))


@pytest.mark.parametrize(("code", "ok"), [(0, True), (1, False), (124, False), (137, False)])
def test_a_result_is_ok_when_the_command_exited_with_zero(code: int, ok: bool) -> None:
    assert ExecutionResult(exit_code=code, stdout="", stderr="").ok is ok


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("/r", "/r"),
        ("/r/a/b", "/r"),
        ("/x", "/r"),
        ("/", "/a/b"),
        ("/a", "/"),
        ("/a/../b", "/"),
        ("/home/u", "/home/u/r"),
    ],
)
def test_a_path_in_a_machine_is_seen_from_another_as_posix_says(path: str, start: str) -> None:
    assert (relative(path, start) or ".") == posixpath.relpath(path, start)
