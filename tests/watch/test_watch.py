"""The view of all sessions, through Textual's pilot, on sessions of real machines."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import Footer, Log, RichLog

from gitmachine import GitMachine, MachineState
from gitmachine.visible import MAX_LINE
from gitmachine.watch.app import Watch
from gitmachine.watch.detail import History, Output
from gitmachine.watch.screens import Ask, Patch
from gitmachine.watch.table import SessionTable
from tests.support.checkouts import git
from tests.support.live_sessions import Opener, Place

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_S = 20.0
ESCAPE = "\x1b[31mred\x1b]0;title\x07"
RTL = "\u202egnp.exe"
MARKUP = "[bold red]loud[/] [@click=app.quit]quit[/]"


class Seen:
    """The view as a user sees it."""

    def __init__(self, app: Watch, pilot: Pilot[None]) -> None:
        self.app = app
        self.press = pilot.press

    @property
    def table(self) -> SessionTable:
        return self.app.screen_stack[0].query_one(SessionTable)

    def row(self, gm: GitMachine) -> dict[str, str]:
        """The cells of a session's row by their column; empty when there is none."""
        if gm.record.id not in self.table.rows:
            return {}
        cells = self.table.get_row(gm.record.id)
        return {str(key.value): str(cell) for key, cell in zip(self.table.columns, cells, strict=True)}

    @property
    def output(self) -> list[str]:
        return [str(line) for line in self.app.screen_stack[0].query_one("#output", Log).lines]

    @property
    def history(self) -> str:
        table = self.app.screen_stack[0].query_one(History)
        return "\n".join(" ".join(str(cell).strip() for cell in table.get_row(key)) for key in table.rows)

    def log(self, selector: str) -> str:
        return "\n".join(strip.text.rstrip() for strip in self.app.screen.query_one(selector, RichLog).lines)

    def screenshot(self) -> str:
        """All that is drawn, a line a line."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text for strip in strips)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                await asyncio.sleep(0.02)

    async def choose(self, gm: GitMachine) -> None:
        """Selects a session as a user does, with the arrow keys."""
        await self.until(lambda: self.row(gm))
        self.table.focus()
        rows = [key.value for key in self.table.rows]
        distance = rows.index(gm.record.id) - self.table.cursor_row
        await self.press(*(["down" if distance > 0 else "up"] * abs(distance)))
        await self.until(lambda: self.app.selected and self.app.selected.record.id == gm.record.id)

    @property
    def said(self) -> str:
        return "\n".join(notice.message for notice in self.app._notifications)


@asynccontextmanager
async def watching(size: tuple[int, int] = (140, 40)) -> AsyncIterator[Seen]:
    app = Watch(("false",))
    app.animation_level = "none"
    async with app.run_test(size=size) as pilot:
        yield Seen(app, pilot)


async def test_a_session_appears_and_its_output_streams(begin: Opener) -> None:
    async with watching() as view:
        gm = await begin("appears")
        await view.choose(gm)
        assert view.row(gm)["State"] == "● running"
        command = asyncio.create_task(
            gm.run("printf first; until [ -e go ]; do sleep 0.05; done; rm go; echo ' and more'; echo bad >&2; exit 3")
        )
        await view.until(lambda: view.output == ["first"])
        assert " s printf first;" in view.row(gm)["Running"]
        await gm.write_file("go", "")
        await command
        await view.until(lambda: "exit 3" in view.history)
        await view.until(lambda: view.row(gm)["Running"] == "–")
        await view.until(lambda: view.output[:2] == ["first and more", "bad"])
        assert "exit 3" in view.log("#events")
        await gm.stop(push=False)
        await view.until(lambda: view.row(gm)["State"] == "○ ended")


async def test_a_look_that_outlives_the_view_follows_nothing_any_more(begin: Opener) -> None:
    gm = await begin("outlives")
    async with watching() as view:
        command = asyncio.create_task(gm.run("printf first; until [ -e go ]; do sleep 0.05; done"))
        await view.choose(gm)
        await view.until(lambda: view.output == ["first"])
        output, seen = view.app.query_one(Output), view.app.selected
        assert seen is not None
    await output.follow(seen)
    await gm.write_file("go", "")
    await command
    await output.follow(replace(seen, running=(replace(seen.running[-1], call="another"),)))
    assert output._live is None


async def test_an_ended_session_shows_what_it_did_and_can_be_hidden(begin: Opener) -> None:
    gm = await begin("ended")
    await gm.run("sed -i s/rain/sun/ forecast.py; echo done")
    await gm.run("rm README.md")
    await gm.stop(push=False)
    async with watching() as view:
        await view.choose(gm)
        assert view.row(gm)["Checkpoints"] == "2"
        assert view.row(gm)["Last event"].startswith("stopped")
        await view.until(lambda: "1 changed" in view.history)
        await view.press("d")
        await view.until(lambda: isinstance(view.app.screen, Patch))
        await view.until(lambda: "# Weather" in view.log("#patch"))
        assert '+    return "sun"' in view.log("#patch")
        await view.press("escape", "enter", "down")
        await view.until(lambda: view.output[:1] == ["done"])
        await view.press("enter")
        await view.until(lambda: isinstance(view.app.screen, Patch))
        await view.until(lambda: '+    return "sun"' in view.log("#patch"))
        assert "# Weather" not in view.log("#patch")
        await view.press("escape", "e")
        await view.until(lambda: not view.row(gm))


async def test_the_keys_pause_resume_and_stop(begin: Opener, place: Place) -> None:
    gm = await begin("by-keys")
    await gm.run("echo work > work.txt")
    async with watching() as view:
        await view.choose(gm)
        await view.press("p")
        await view.until(lambda: view.row(gm)["State"] == "◐ paused")
        paused = gm.state
        assert paused is MachineState.PAUSED
        await view.until(lambda: "by-keys committed and paused" in view.said)
        await view.press("a")
        await view.until(lambda: "not running" in view.said)
        await view.press("r")
        await view.until(lambda: view.row(gm)["State"] == "● running")
        await view.press("s")
        await view.until(lambda: isinstance(view.app.screen, Ask))
        await view.press("enter")
        await view.until(lambda: not isinstance(view.app.screen, Ask))
        assert gm.state is MachineState.RUNNING
        await view.press("s")
        await view.until(lambda: isinstance(view.app.screen, Ask))
        await view.press("y")
        await view.until(lambda: view.row(gm)["State"] == "○ ended")
        await view.until(lambda: "by-keys ended; pushed" in view.said)
    assert git(place.repository, "show", "by-keys:work.txt") == "work"


async def test_what_cannot_be_done_is_said_and_the_view_goes_on(begin: Opener) -> None:
    gm = await begin("refused")
    async with watching() as view:
        await view.choose(gm)
        await view.press("r")
        await view.until(lambda: "resume refused: " in view.said)
        await view.press("a")
        await view.until(lambda: "gitmachine shell" in view.said)
        await gm.stop(push=False)
        await view.until(lambda: view.row(gm)["State"] == "○ ended")
        await view.press("s")
        await view.until(lambda: "no machine to end" in view.said)
        await view.press("r")
        await view.until(lambda: view.row(gm)["State"] == "● running")
        await view.until(lambda: "Went on in a new machine" in view.history)


async def test_hostile_text_shows_and_does_nothing(begin: Opener) -> None:
    gm = await begin(f"evil-{RTL}")
    await gm.run(
        f"printf %s {shlex.quote(ESCAPE + RTL + MARKUP)} > {shlex.quote(MARKUP.replace('/', '-'))}; cat *loud*"
    )
    await gm.run("head -c 1000000 /dev/zero | tr '\\0' x; echo; printf 'over\\rwritten\\n'")
    await gm.commit(f"{MARKUP} {ESCAPE}")
    hostile = f"cat; : {MARKUP} {ESCAPE} {RTL}"
    running = asyncio.create_task(gm.run(hostile.replace("cat;", "sleep 60;")))
    async with watching((200, 50)) as view:
        await view.choose(gm)
        assert view.row(gm)["Session"] == "evil-\\u202egnp.exe"
        await view.until(lambda: MARKUP in view.row(gm)["Running"])
        await view.until(lambda: "\\x1b[31mred\\x1b]0;title\\x07" in view.log("#events"))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await view.until(lambda: view.row(gm)["Running"] == "–")
        await view.press("enter", "ctrl+end", "up")
        await view.until(lambda: any("\\x1b[31mred\\x1b]0;title\\x07\\u202egnp.exe" + MARKUP in x for x in view.output))
        await view.press("up")
        await view.until(lambda: view.output[-2:] == ["over", "written"] or view.output[-3:-1] == ["over", "written"])
        assert max(len(line) for line in view.output) < MAX_LINE + 10
        await view.press("d")
        await view.until(lambda: isinstance(view.app.screen, Patch))
        await view.until(lambda: "\\x1b[31mred" in view.log("#patch"))
        drawn = view.screenshot()
        assert not [character for character in drawn if character != "\n" and not character.isprintable()]
        assert view.app.is_running
    await gm.stop(push=False)


async def test_it_fits_a_small_terminal_and_every_key_is_named(begin: Opener) -> None:
    gm = await begin("small")
    async with watching((80, 24)) as view:
        await view.until(lambda: view.row(gm))
        assert view.table.virtual_size.width <= view.table.size.width
        drawn = view.screenshot()
        for words in ("Sessions", "History", "Events", "p Pause", "r Resume", "d Diff", "a Attach", "s Stop", "q Quit"):
            assert words in drawn, drawn
        assert view.app.screen.query_one(Footer)
        await view.press("tab", "tab", "tab")
        assert view.app.focused is not None
        assert view.app.focused.id == "events"
        await view.press("q")
    await gm.stop(push=False)


async def test_text_of_others_is_never_markup() -> None:
    from gitmachine.watch.text import line

    shown = line(MARKUP)
    assert isinstance(shown, Text)
    assert shown.plain == MARKUP
