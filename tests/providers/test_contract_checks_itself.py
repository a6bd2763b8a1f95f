"""The contract finds what it is there to find."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

BROKEN_ROWS = {
    "test_the_id_is_known_from_the_start_to_the_end": "an id before there is a machine",
    "test_a_running_machine_is_not_started_again": "start() in any state",
    "test_a_running_machine_is_not_resumed": "resume() in any state",
    "test_standard_input_takes_every_byte_value": "NUL bytes dropped",
    "test_the_environment_of_the_host_does_not_reach_the_machine": "os.environ passed on",
    "test_a_cwd_that_is_not_there_is_an_error_naming_it": "another directory taken silently",
    "test_death_by_a_signal_is_128_and_its_number": "Python's negative numbers",
    "test_output_is_neither_trimmed_nor_translated": "universal newlines",
    "test_a_deadline_gives_124_and_the_output_up_to_then": "output thrown away at a deadline",
    "test_a_command_that_exits_with_124_has_not_timed_out": "124 taken for a deadline",
    "test_a_nonzero_exit_is_a_result": "124 taken for a deadline",
    "test_output_beyond_the_limit_keeps_head_and_tail_and_counts_the_cut": "truncation not told",
    "test_stderr_is_bounded_as_stdout_is": "truncation not told",
    "test_callbacks_see_what_the_limit_cuts": "truncation not told",
    "test_the_duration_is_measured": "no duration",
    "test_reading_what_is_not_there_is_file_not_found": "a missing file is an empty text",
    "test_a_failed_read_names_the_file": "a missing file is an empty text",
    "test_links_are_followed_and_dangling_ones_exist": "a missing file is an empty text",
    "test_a_listing_is_sorted_and_has_hidden_names_and_directories": "hidden names left out",
}


def _failing(*nodes: str) -> set[str]:
    """Runs tests of `broken.py` in a program of their own; the names of those that fail."""
    path = "tests/providers/broken.py"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider",
         *(f"{path}::{node}" for node in nodes)],
        cwd=ROOT, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert run.returncode == 1, run.stdout + run.stderr
    marked = [line.split() for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return {words[1].rpartition("::")[2] for words in marked}


def test_a_broken_machine_fails_exactly_the_rows_that_it_breaks() -> None:
    assert _failing("TestBrokenMachine") == set(BROKEN_ROWS)


def test_a_deviation_that_passes_or_names_nothing_is_a_failure() -> None:
    rows = ("test_a_zero_exit_is_ok", "test_the_deviations_name_behaviours_of_the_contract")
    assert _failing(*(f"TestFalseDeviations::{row}" for row in rows)) == set(rows)


def test_a_row_cannot_be_redefined_away() -> None:
    row = "test_the_deviations_name_behaviours_of_the_contract"
    assert _failing(f"TestRedefinition::{row}") == {row}


def test_the_suite_needs_no_plugin_of_pytest(session_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "test_foreign.py"
    file.write_text(
        "import pytest\n"
        "from gitmachine.testing import MachineContract\n"
        "from tests.providers.plain import PlainMachine\n"
        "class TestForeign(MachineContract):\n"
        "    @pytest.fixture\n"
        "    def machine(self):\n"
        "        return PlainMachine()\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={tmp_path}", str(file),
         "-p", "no:cacheprovider", "-k", "test_a_nonzero_exit or test_a_zero_exit"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "2 passed" in run.stdout, run.stdout + run.stderr
