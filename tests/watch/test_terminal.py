"""The view and the shell in a real pseudo-terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.live_sessions import Opener
from tests.support.pseudo_terminal import in_a_terminal

pytestmark = pytest.mark.asyncio(loop_scope="module")

GITMACHINE = str(Path(sys.executable).with_name("gitmachine"))
LEAVE = "\x1d"


async def test_the_view_attaches_a_shell_and_goes_on_behind_it(begin: Opener) -> None:
    gm = await begin("attached")
    async with in_a_terminal([GITMACHINE, "watch"]) as terminal:
        await terminal.until("Sessions", "attached", "running")
        terminal.press("a")
        await terminal.until("in session attached")
        await terminal.until("$ ")
        terminal.press("echo in-$((40 + 2)) | tee work.txt; stty size\r")
        await terminal.until("in-42\r\n40 140")
        terminal.press("exit\r")
        await terminal.until("Sessions", "History")
        terminal.press("q")
        assert await terminal.ended() == 0
    assert await gm.read_file("work.txt") == "in-42\n"
    (entry,) = await gm.history()
    assert (entry.command, entry.changed, entry.actor) == ('sh -c "$TERMINAL"  # gitmachine shell', 1, "cli")
    await gm.stop(push=False)


async def test_a_shell_ends_with_its_own_exit_code_and_ctrl_c_is_for_the_command(begin: Opener) -> None:
    gm = await begin("shelled")
    async with in_a_terminal([GITMACHINE, "shell", "shelled"]) as terminal:
        await terminal.until("in session shelled")
        await terminal.until("$ ")
        terminal.press("echo asleep; sleep 100\r")
        await terminal.until("asleep\r\n")
        terminal.press("\x03")
        await terminal.until("^C", "$ ")
        terminal.press("exit 7\r")
        assert await terminal.ended() == 7
    await gm.stop(push=False)


async def test_a_shell_that_is_left_ends_with_all_that_it_started(begin: Opener) -> None:
    gm = await begin("left")
    async with in_a_terminal([GITMACHINE, "shell", "left"]) as terminal:
        await terminal.until("in session left")
        await terminal.until("$ ")
        terminal.press("echo kept > kept.txt; sleep 4711\r")
        await terminal.until("4711\r\n")
        terminal.press(LEAVE)
        assert await terminal.ended() == 0
    assert (await gm.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[4]711'")).stdout == "0\n"
    assert (await gm.run("ls /tmp -A")).stdout == ""
    assert await gm.read_file("kept.txt") == "kept\n"
    await gm.stop(push=False)


@pytest.mark.parametrize("command", ["watch", "shell"])
async def test_without_a_terminal_it_says_what_to_use_instead(command: str) -> None:
    done = subprocess.run([GITMACHINE, command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 64
    assert "use `gitmachine" in done.stderr


async def test_a_session_that_is_paused_is_to_be_resumed_first(begin: Opener) -> None:
    gm = await begin("asleep")
    await gm.pause()
    async with in_a_terminal([GITMACHINE, "shell", "asleep"]) as terminal:
        await terminal.until("`gitmachine resume asleep` first")
        assert await terminal.ended() == 64
