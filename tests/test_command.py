"""The one place for the deadline, the kill and the bounded collection, on streams made for the purpose."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest

from gitmachine.machines.command import Channel, CommandStream, collect
from gitmachine.types import ExecuteOptions


class Script(CommandStream):
    """Yields the given pieces, then ends, or hangs until it is killed when `hangs`."""

    def __init__(self, *pieces: bytes, code: int = 0, hangs: bool = False, last_words: Sequence[bytes] = ()) -> None:
        self._pieces = list(pieces)
        self._code = code
        self._hangs = hangs
        self._last_words = last_words
        self.waiting = asyncio.Event()
        self.killed = asyncio.Event()
        self.kill_may_end = asyncio.Event()
        self.kill_may_end.set()
        self.killing = asyncio.Event()
        self.closed = 0

    async def output(self) -> AsyncIterator[tuple[Channel, bytes]]:
        while self._pieces:
            yield "stdout", self._pieces.pop(0)
        if self._hangs and not self.killed.is_set():
            self.waiting.set()
            await self.killed.wait()

    async def exit_code(self) -> int:
        return self._code

    async def kill(self) -> None:
        self.killing.set()
        await self.kill_may_end.wait()
        self._pieces.extend(self._last_words)
        self.killed.set()

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1


async def _text(*pieces: bytes, limit: int | None) -> str:
    return (await collect(Script(*pieces), ExecuteOptions(max_output_bytes=limit))).stdout


async def test_output_within_the_limit_is_whole() -> None:
    result = await collect(Script(b"0123", b"456789"), ExecuteOptions(max_output_bytes=10))
    assert (result.stdout, result.truncated) == ("0123456789", False)


@pytest.mark.parametrize("sizes", [[1] * 20, [20], [4, 16], [5, 5, 10], [19, 1]])
async def test_head_and_tail_are_the_same_however_the_bytes_arrive(sizes: list[int]) -> None:
    data = b"abcdefghijklmnopqrst"
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    assert await _text(*pieces, limit=9) == "abcde\n[... 11 bytes cut ...]\nqrst"


async def test_a_limit_of_nothing_keeps_nothing_but_the_count() -> None:
    result = await collect(Script(b"abc", b"def"), ExecuteOptions(max_output_bytes=0))
    assert (result.stdout, result.truncated) == ("\n[... 6 bytes cut ...]\n", True)


async def test_half_characters_at_the_cut_are_dropped_and_bad_bytes_elsewhere_replaced() -> None:
    data = "a€€€€€€€€b".encode()
    assert await _text(data, limit=8) == f"a€\n[... {len(data) - 8} bytes cut ...]\n€b"
    assert await _text(b"\xff2345678\xff0", limit=4) == "\ufffd2\n[... 6 bytes cut ...]\n\ufffd0"


async def test_a_callback_never_sees_half_a_character() -> None:
    seen: list[str] = []
    pieces = [bytes([byte]) for byte in "aé€😀".encode()] + [b"\xe2\x82"]
    await collect(Script(*pieces), ExecuteOptions(on_stdout=seen.append))
    assert seen == ["a", "é", "€", "😀", "\ufffd"]


async def test_a_callback_sees_what_is_cut() -> None:
    seen: list[str] = []
    await collect(Script(b"abc", b"def"), ExecuteOptions(on_stdout=seen.append, max_output_bytes=2))
    assert "".join(seen) == "abcdef"


async def test_an_asynchronous_callback_is_waited_for() -> None:
    seen: list[str] = []

    async def later(text: str) -> None:
        await asyncio.sleep(0)
        seen.append(text)

    await collect(Script(b"a", b"b"), ExecuteOptions(on_stdout=later))
    assert seen == ["a", "b"]


async def test_a_callback_that_raises_is_logged_and_the_command_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(text: str) -> None:
        raise RuntimeError(text)

    with caplog.at_level(logging.ERROR):
        result = await collect(Script(b"a", b"b", code=3), ExecuteOptions(on_stdout=broken))
    assert (result.exit_code, result.stdout) == (3, "ab")
    assert len(caplog.records) == 2


async def test_a_deadline_kills_and_keeps_what_came_before_and_after() -> None:
    seen: list[str] = []
    stream = Script(b"before ", hangs=True, last_words=[b"after"])
    result = await collect(stream, ExecuteOptions(timeout=0.05, on_stdout=seen.append))
    assert (result.exit_code, result.timed_out, result.stdout) == (124, True, "before after")
    assert "".join(seen) == "before after"
    assert (stream.killed.is_set(), stream.closed) == (True, 1)


async def test_a_callback_that_hangs_cannot_outlast_the_deadline() -> None:
    async def hang(text: str) -> None:
        await asyncio.Event().wait()

    stream = Script(b"one \xe2\x82", b"two", hangs=True)
    async with asyncio.timeout(2):
        result = await collect(stream, ExecuteOptions(timeout=0.05, on_stdout=hang))
    assert (result.timed_out, result.stdout) == (True, "one \ufffdtwo")


async def test_a_timeout_of_the_providers_own_is_not_taken_for_the_deadline() -> None:
    class Broken(Script):
        async def exit_code(self) -> int:
            raise TimeoutError("the connection timed out")

    stream = Broken(b"x")
    with pytest.raises(TimeoutError, match="connection"):
        await collect(stream, ExecuteOptions(timeout=20))
    assert stream.closed == 1


async def test_a_cancellation_goes_on_after_the_kill_however_often_it_comes() -> None:
    stream = Script(b"x", hangs=True)
    stream.kill_may_end.clear()
    task = asyncio.create_task(collect(stream, ExecuteOptions()))
    await stream.waiting.wait()
    for _ in range(3):
        task.cancel()
        await stream.killing.wait()
        await asyncio.sleep(0)
    assert (task.done(), stream.closed) == (False, 0)
    stream.kill_may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (stream.killed.is_set(), stream.closed) == (True, 1)


async def test_a_kill_that_does_not_end_is_given_up() -> None:
    class Immortal(Script):
        kill_limit_s = 0.05

    stream = Immortal(b"x", hangs=True)
    stream.kill_may_end.clear()
    async with asyncio.timeout(2):
        result = await collect(stream, ExecuteOptions(timeout=0.05))
    assert (result.timed_out, result.stdout, stream.closed) == (True, "x", 1)
