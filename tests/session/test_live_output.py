"""What a running command writes can be read by any program while it runs, and by none of them afterwards."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from gitmachine.live_output import KEPT_BYTES, LiveOutput, running
from gitmachine.types import ExecuteOptions

LIMIT_S = 10.0


class _Command:
    """Something that writes, and whose output is followed."""

    def __init__(self, directory: Path, secrets: tuple[str, ...] = ()) -> None:
        self.path = directory / "live" / "call.txt"
        self.live = LiveOutput(self.path, secrets)
        self.seen: list[str] = []
        self.options = self.live.attach(ExecuteOptions(on_stdout=self.seen.append))

    async def write(self, *texts: str) -> None:
        for text in texts:
            assert self.options.on_stdout is not None
            answer = self.options.on_stdout(text)
            if answer is not None:
                await answer

    async def reads(self, wanted: str) -> str:
        """What stands in the file once `wanted` is in it."""
        async with asyncio.timeout(LIMIT_S):
            while not self.path.exists() or wanted not in self.path.read_text():
                await asyncio.sleep(0.01)
        return self.path.read_text()


async def test_output_can_be_read_while_the_command_runs_and_not_after(tmp_path: Path) -> None:
    command = _Command(tmp_path)
    async with command.live.following():
        await command.write("first\n")
        assert await command.reads("first") == "first\n"
        assert running(tmp_path / "live") == ["call"]
        assert stat.S_IMODE(command.path.parent.stat().st_mode) == 0o700
        await command.write("second\n")
        assert await command.reads("second") == "first\nsecond\n"
    assert not command.path.exists()
    assert command.seen == ["first\n", "second\n"]


async def test_a_short_command_makes_no_file(tmp_path: Path) -> None:
    command = _Command(tmp_path)
    async with command.live.following():
        await command.write("quick\n")
    assert not (tmp_path / "live").exists()


async def test_a_secret_is_taken_out_also_when_it_comes_in_pieces(tmp_path: Path) -> None:
    command = _Command(tmp_path, ("s3cret-value",))
    async with command.live.following():
        await command.write("is ")
        await command.reads("is ")
        await command.write("s3cr")
        await command.write("et-va")
        await command.write("lue, and s3c")
        assert await command.reads(", and ") == "is [redacted], and "
        await command.write("ond")
        assert await command.reads("s3cond") == "is [redacted], and s3cond"


async def test_what_is_kept_of_one_command_is_bounded(tmp_path: Path) -> None:
    command = _Command(tmp_path)
    async with command.live.following():
        for _ in range(6):
            await command.write("a" * (KEPT_BYTES // 4))
        assert len(await command.reads("more has come")) < KEPT_BYTES * 1.5


async def test_a_file_that_a_killed_program_left_is_no_running_command(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "old.txt").write_text("before the crash")
    assert running(tmp_path / "live") == []


async def test_a_directory_that_cannot_be_written_does_not_disturb_the_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "live").write_text("in the way")
    command = _Command(tmp_path)
    async with command.live.following():
        await command.write("x")
        async with asyncio.timeout(LIMIT_S):
            while "cannot be shown" not in caplog.text:
                await asyncio.sleep(0.01)
    assert command.seen == ["x"]
