"""The events of one session in a file, append-only, shared by all programs that drive the session.

    events.jsonl      a line an event, numbered from 1 without gaps

A line is acknowledged once its end is written: what a killed program left of one, the next append cuts off. Reading
from a number costs what is read: the lines are in order, so the first of them is searched for and not counted up to.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from gitmachine.events import OWN, TYPES, Event, Unknown

_JSON = TypeAdapter(dict[str, Any])
_HEAD = b'{"seq":'
_TAIL_BYTES = 512
_BLOCK_BYTES = 8 * 1024
_READ_BYTES = 256 * 1024


class EventLog:
    """Every method is a few calls to the file system and may wait for it; none waits for the disk itself."""

    def __init__(self, directory: Path, scrub: Callable[[str], str] | None = None) -> None:
        self._path = directory / "events.jsonl"
        self._scrub = scrub

    def append(self, event: Event, *, wait: bool = True) -> Event:
        """Numbers and keeps an event; gives it back with its number.

        Without `wait` raises BlockingIOError when another program is just writing. Raises OSError.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            number, end, size = _last(file)
            if end != size:  # an append that did not come to its end
                os.ftruncate(file, end)
            _put(file, _line(number + 1, event, self._scrub), end)
        finally:
            os.close(file)  # which lets go of the lock
        return event.model_copy(update={"seq": number + 1})

    def count(self) -> int:
        """The number of the last event; 0 when there is none."""
        try:
            with self._path.open("rb", buffering=0) as file:
                return _last(file.fileno())[0]
        except FileNotFoundError:
            return 0

    def read(self, after: int = 0, limit: int | None = None) -> list[Event]:
        """The events whose number is greater than `after`, oldest first, at most `limit`."""
        try:
            with self._path.open("rb", buffering=0) as file:
                last, end, _ = _last(file.fileno())
                count = last - after if limit is None else min(last - after, limit)
                lines = _lines(file.fileno(), after, count, (last, end)) if count > 0 else ()
                return [_event(line) for line in lines]
        except FileNotFoundError:
            return []


def _last(file: int) -> tuple[int, int, int]:
    """The number of the last whole line, where it ends, and the size of the file."""
    size = os.lseek(file, 0, os.SEEK_END)
    reach = _TAIL_BYTES
    while True:
        start = max(0, size - reach)
        block = os.pread(file, size - start, start)
        end = block.rfind(b"\n")
        begin = block.rfind(b"\n", 0, end) if end > 0 else -1
        if begin >= 0 or start == 0:
            return (_number(block[begin + 1 :]), start + end + 1, size) if end >= 0 else (0, 0, size)
        reach *= 16


def _number(line: bytes) -> int:
    return int(line[len(_HEAD) : line.index(b",", len(_HEAD))])


def _put(file: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def _lines(file: int, after: int, count: int, last: tuple[int, int]) -> Iterator[bytes]:
    """So many lines from the one behind number `after` on; fewer in a file that somebody has taken lines out of."""
    offset, rest = _start_of(file, after + 1, last), b""
    while count and (block := os.pread(file, min(_READ_BYTES, last[1] - offset), offset)):
        *lines, rest = (rest + block).split(b"\n")
        offset += len(block)
        yield from lines[:count]
        count -= min(count, len(lines))


def _start_of(file: int, number: int, last: tuple[int, int]) -> int:
    """Where the line of an event begins that is there: searched for between lines (number, offset) around it.

    Lines are of much the same length, so that two or three guesses come close. Where they are not, every other guess
    halves what is left.
    """
    low, high = (1, 0), (last[0] + 1, last[1])
    halve = False
    while high[1] - low[1] > _BLOCK_BYTES:
        share = 0.5 if halve else (number - low[0]) / (high[0] - low[0])
        halve = not halve
        # A little before the guess: the line behind it should rather be one before the wanted one than one after.
        guess = low[1] + max(0, int((high[1] - low[1]) * share) - _BLOCK_BYTES // 4)
        found = _line_behind(file, guess, high[1])
        if found is not None and found[0] <= number:
            low = found
        else:
            high = (found[0] if found else high[0], guess + 1)
    return _counted(file, low, number)


def _line_behind(file: int, offset: int, end: int) -> tuple[int, int] | None:
    """Number and beginning of the first line that begins behind an offset and before an end."""
    while offset < end:
        block = os.pread(file, _BLOCK_BYTES, offset)
        begin = offset + block.find(b"\n") + 1
        if begin > offset:
            return (_number(os.pread(file, _BLOCK_BYTES, begin)), begin) if begin < end else None
        offset += len(block)
    return None


def _counted(file: int, low: tuple[int, int], number: int) -> int:
    """The same by counting the ends of lines from a known one on."""
    left, offset = number - low[0], low[1]
    while left and (block := os.pread(file, _BLOCK_BYTES, offset)):
        lines = block.split(b"\n", left)
        left -= len(lines) - 1
        offset += len(block) - (len(lines[-1]) if left == 0 else 0)
    return offset


def _line(number: int, event: Event, scrub: Callable[[str], str] | None) -> bytes:
    """What `_Envelope` reads; put together by hand, for the event has been validated and its data are JSON already."""
    data = (
        event.model_dump_json(exclude=OWN)
        if scrub is None
        else _JSON.dump_json(_scrubbed(event.data(), scrub)).decode()
    )
    return f'{{"seq":{number},"at":"{event.at.isoformat()}","event":"{event.name}","data":{data}}}\n'.encode()


def _scrubbed(value: Any, scrub: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [_scrubbed(item, scrub) for item in value]
    if isinstance(value, dict):
        return {key: _scrubbed(item, scrub) for key, item in value.items()}
    return value


def _event(line: bytes) -> Event:
    envelope = _Envelope.model_validate_json(line)
    kind = TYPES.get(envelope.event)
    if kind is not None:
        try:
            return kind.model_validate({**envelope.data, "seq": envelope.seq, "at": envelope.at})
        except ValidationError:
            pass  # another version's idea of this event: the reader still gets its data
    return Unknown.model_validate({**envelope.data, "event": envelope.event, "seq": envelope.seq, "at": envelope.at})


class _Envelope(BaseModel):
    seq: int
    at: datetime
    event: str
    data: dict[str, Any]
