"""The log of events as a file: numbers without gaps, whoever writes, and reading from any of them."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitmachine.event_log import EventLog
from gitmachine.events import CommandStarted, Event, Paused, Unknown

WRITERS, EACH = 4, 50


def said(command: str) -> CommandStarted:
    return CommandStarted(id="1", command=command)


def commands(events: list[Event]) -> list[str]:
    return [event.data()["command"] for event in events]


def test_events_are_numbered_from_one_and_come_back_as_they_were(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    told = [log.append(said('héllo\n"quoted"\u2028')), log.append(Paused())]
    assert [event.seq for event in told] == [1, 2]
    assert log.read() == told
    assert log.count() == 2


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "nowhere")
    assert log.read() == []
    assert log.count() == 0


def test_what_a_killed_program_left_of_a_line_is_never_read_and_cut_off_by_the_next(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(said("whole"))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"seq":2,"at":"2026-01-01T00:00:00Z","event":"command_sta')
    assert commands(log.read()) == ["whole"]
    assert log.count() == 1
    assert log.append(said("next")).seq == 2
    assert commands(log.read()) == ["whole", "next"]


def test_a_file_that_is_only_such_a_rest_is_empty(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"seq":1,' + b"x" * 5000)
    log = EventLog(tmp_path)
    assert log.read() == []
    assert log.append(said("first")).seq == 1
    assert commands(log.read()) == ["first"]


def test_a_log_that_somebody_took_lines_out_of_can_be_read_and_goes_on(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for number in range(400):
        log.append(said(f"{number} {'x' * 100}"))
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines[:100] + lines[300:]))
    assert [event.seq for event in log.read()] == [*range(1, 101), *range(301, 401)]
    for after in range(0, 400, 7):  # what is not there cannot be found; looking for it ends
        found = [event.seq for event in log.read(after)]
        assert found == sorted(found)
    assert log.append(said("next")).seq == 401


def test_an_event_of_another_version_comes_with_its_data(tmp_path: Path) -> None:
    line = '{"seq":1,"at":"2026-01-01T00:00:00Z","event":"levitated","data":{"height":3}}\n'
    (tmp_path / "events.jsonl").write_text(line)
    (event,) = EventLog(tmp_path).read()
    assert isinstance(event, Unknown)
    assert event.data() == {"event": "levitated", "height": 3}


def test_secrets_are_taken_out_before_anything_is_written(tmp_path: Path) -> None:
    log = EventLog(tmp_path, lambda text: text.replace('tok"en', "***"))
    log.append(said('curl -H tok"en'))
    assert commands(log.read()) == ["curl -H ***"]
    assert b"en" not in (tmp_path / "events.jsonl").read_bytes().split(b"curl")[1]


def test_whoever_may_not_wait_is_told_that_another_is_writing(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(said("first"))
    with (tmp_path / "events.jsonl").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            log.append(said("second"), wait=False)
    assert log.append(said("second"), wait=False).seq == 2


WRITE = """
import sys
from pathlib import Path
from gitmachine.event_log import EventLog
from gitmachine.events import CommandStarted
log = EventLog(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    log.append(CommandStarted(id="1", command=f"{sys.argv[2]} {number}"))
"""


def test_programs_that_write_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WRITE, str(tmp_path)]
    writers = [subprocess.Popen([*argv, str(name), str(EACH)]) for name in range(WRITERS)]
    assert [writer.wait() for writer in writers] == [0] * WRITERS
    events = EventLog(tmp_path).read()
    assert [event.seq for event in events] == list(range(1, WRITERS * EACH + 1))
    assert sorted(commands(events)) == sorted(f"{name} {number}" for name in range(WRITERS) for number in range(EACH))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 200, 3_000, 40_000]), min_size=1, max_size=40),
    share=st.floats(0, 1),
    limit=st.one_of(st.none(), st.integers(1, 20)),
)
def test_reading_begins_behind_the_number_however_long_the_lines_are(
    sizes: list[int], share: float, limit: int | None
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        log = EventLog(Path(directory))
        for size in sizes:
            log.append(said("x" * size))
        after = int(share * len(sizes))
        wanted = range(after + 1, len(sizes) + 1)[:limit]
        found = log.read(after, limit)
        assert [event.seq for event in found] == list(wanted)
        assert [len(command) for command in commands(found)] == [sizes[number - 1] for number in wanted]
