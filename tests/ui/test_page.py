"""The web page over the state directory, in a real browser."""

from __future__ import annotations

import asyncio
import shlex
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.async_api import BrowserContext, Dialog, Page, expect

from gitmachine import GitMachine
from tests.support.live_sessions import Opener, Place

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
BREAK = "<script>document.title='taken'</script><img src=x onerror=alert(1)>"
RTL = "\u202egnp.exe"
ESCAPE = "\x1b[31mred\x1b]0;title\x07"


def session_url(gm: GitMachine) -> str:
    return f"/s/{gm.record.id}"


async def opened(context: BrowserContext, path: str) -> Page:
    """A page that is listening for changes."""
    page = await context.new_page()
    await page.goto(path)
    await expect(page.locator("#link-state")).to_have_text("live")
    return page


def _asked(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    request = Request(url, method=method, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_a_wrong_or_used_token_gets_nothing(admitted: BrowserContext, address: str, place: Place) -> None:
    """The right one has been used, by `admitted`."""
    del place
    base = address.partition("/enter")[0]
    for path in (address.removeprefix(base), "/enter?token=wrong", "/enter", "/", "/static/page.css", "/pulse", "/s/x"):
        status, text = await asyncio.to_thread(_asked, base + path)
        assert status == 403, path
        assert text.startswith("This page opens with the address"), path
        assert "session" not in text


async def test_a_cookie_alone_does_not_let_another_site_in(admitted: BrowserContext, address: str) -> None:
    base = address.partition("/enter")[0]
    (cookie,) = await admitted.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    known = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    port = base.rpartition(":")[2]

    async def status(method: str = "GET", path: str = "/", **headers: str) -> int:
        return (await asyncio.to_thread(lambda: _asked(base + path, method, **known, **headers)))[0]

    assert await status() == 200
    assert await status(Host=f"evil.example:{port}") == 403
    assert await status(Sec_Fetch_Site="cross-site") == 403
    assert await status("POST", "/s/x/do/stop") == 403
    assert await status("POST", "/s/x/do/stop", Origin="http://evil.example") == 403
    assert await status("POST", "/s/x/do/stop", Origin=base) == 404


async def test_a_button_without_the_pages_own_secret_does_nothing(
    admitted: BrowserContext, begin: Opener, address: str
) -> None:
    gm = await begin("no-secret")
    base = address.partition("/enter")[0]
    (cookie,) = await admitted.cookies()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}", "Origin": base}
    status, text = await asyncio.to_thread(lambda: _asked(f"{base}{session_url(gm)}/do/stop", "POST", **headers))
    assert (status, "not one of this page" in text) == (409, True)
    assert gm.state == "running"
    await gm.stop(push=False)


async def test_a_session_appears_live_and_its_output_streams(admitted: BrowserContext, begin: Opener) -> None:
    page = await opened(admitted, "/")
    await expect(page.get_by_text("appears-live")).to_have_count(0)
    gm = await begin("appears-live")
    await expect(page.get_by_role("link", name="appears-live")).to_be_visible()
    await page.get_by_role("link", name="appears-live").click()
    await expect(page.locator("#link-state")).to_have_text("live")
    command = asyncio.create_task(
        gm.run("echo first; until [ -e go ]; do sleep 0.05; done; rm go; echo second; exit 3")
    )
    output = page.locator("pre[data-output]")
    await expect(output).to_have_text("first\n", use_inner_text=False)
    await gm.write_file("go", "")
    assert (await command).exit_code == 3
    await expect(page.locator("#entry-1 .exit")).to_have_text("exit 3")
    await expect(output).to_have_count(0)
    await page.locator("#entry-1 a").click()
    await expect(page.locator("pre.output.stdout")).to_have_text("first\nsecond")
    await gm.stop(push=False)
    await expect(page.locator("h1 .state")).to_have_text("ended")
    await page.close()


async def test_a_session_is_paused_resumed_and_stopped_by_its_buttons(admitted: BrowserContext, begin: Opener) -> None:
    gm = await begin("by-buttons")
    await gm.run("echo kept > kept.txt")
    page = await opened(admitted, session_url(gm))
    for action, state in (("Pause", "paused"), ("Resume", "running"), ("Stop", "ended")):
        await page.get_by_role("link", name=f"{action}…").click()
        await page.get_by_role("button", name=action, exact=True).click()
        await expect(page.locator("h1 .state")).to_have_text(state)
    names = [event.name for event in await gm.events()]
    assert [name for name in names if name in ("paused", "resumed", "pushed", "stopped")] == [
        "paused", "resumed", "pushed", "stopped",
    ]  # fmt: skip
    assert gm.state == "stopped"
    await page.close()


async def test_a_diff_opens_and_rewind_works(admitted: BrowserContext, begin: Opener) -> None:
    gm = await begin("rewinds")
    await gm.run("sed -i s/rain/sun/ forecast.py")
    await gm.run("rm README.md; echo more > more.txt")
    page = await opened(admitted, session_url(gm))
    await page.locator("#entry-1 a").click()
    await expect(page.locator(".diff .removed")).to_contain_text('return "rain"')
    await expect(page.locator(".diff .added")).to_contain_text('return "sun"')
    await page.get_by_role("link", name="Rewind to here…").click()
    await expect(page.get_by_role("heading", name="Rewind to #1?")).to_be_visible()
    await expect(page.locator(".file summary")).to_have_count(2)
    await page.get_by_role("button", name="Rewind to #1").click()
    await expect(page.get_by_role("heading", name="#3 Rewound to #1")).to_be_visible()
    assert (await gm.run("cat README.md | head -1; ls; cat forecast.py")).stdout.splitlines()[:1] == ["# Weather"]
    last = (await gm.history())[-2]
    assert (last.kind, last.actor, last.target) == ("rewind", "ui", 1)
    await gm.stop(push=False)
    await page.close()


async def test_everything_hostile_shows_as_text(
    admitted: BrowserContext, begin: Opener, place: Place, screenshots: Path
) -> None:
    gm = await begin(f"<b>{RTL}'\"&amp;")
    name = f"{BREAK.replace('/', '_')}{RTL}\n.txt"
    text = f"{BREAK}\n{ESCAPE}\n{RTL}\n"
    await gm.write_file("long", "a" * 1_000_000 + "\n" + text)
    await gm.run(f"cat long; touch {shlex.quote(name)}; printf %s {shlex.quote(text)} > {shlex.quote(name)}")
    await gm.commit(f"{BREAK}{RTL}{ESCAPE}")
    page = await opened(admitted, "/")
    ran: list[Any] = []
    admitted.on("dialog", lambda dialog: ran.append(_dismissed(dialog, ran)))
    admitted.on("weberror", lambda error: ran.append(error))
    page.on("console", lambda message: ran.append(message.text) if message.type == "error" else None)
    for path in ("/", session_url(gm), f"{session_url(gm)}/1", f"{session_url(gm)}/diff", f"/compare?s={gm.record.id}"):
        await page.goto(path)
        await expect(page.locator("#link-state")).to_have_text("live")
        said = await page.locator("main").inner_text()
        assert "<b>\\u202egnp.exe'\"&amp;" in said, path
        assert await page.locator("main b, main script, main img").count() == 0
        assert await page.title() != "taken"
        assert not {"\u202e", "\x1b", "\x07"} & set(await page.locator("html").inner_text() + await page.title())
    await page.goto(f"{session_url(gm)}/1")
    shown = await page.locator("pre.output.stdout").inner_text()
    assert BREAK in shown
    assert "\\x1b[31mred\\x1b]0;title\\x07" in shown
    assert "998,000 characters more" in shown
    summary = await page.locator(".file summary", has_text="onerror").inner_text()
    assert "\\u202egnp.exe\\x0a.txt" in summary
    await page.screenshot(path=screenshots / "hostile.png")
    await page.goto(session_url(gm))
    event = await page.locator(".item.event.good").first.inner_text()
    assert f"{BREAK}\\u202egnp.exe\\x1b[31mred" in event
    assert not ran
    await gm.stop(push=False)
    await page.close()


async def _dismissed(dialog: Dialog, ran: list[Any]) -> None:
    ran.append(dialog.message)
    await dialog.dismiss()


async def test_streamed_output_is_text_as_well(admitted: BrowserContext, begin: Opener) -> None:
    gm = await begin("streams-hostile")
    page = await opened(admitted, session_url(gm))
    line = f"{BREAK}{ESCAPE}{RTL}"
    command = asyncio.create_task(gm.run(f"printf %s {shlex.quote(line)}; until [ -e go ]; do sleep 0.05; done"))
    output = page.locator("pre[data-output]")
    await expect(output).to_have_text(f"{BREAK}\\x1b[31mred\\x1b]0;title\\x07\\u202egnp.exe")
    assert await output.locator("script, img").count() == 0
    await gm.write_file("go", "")
    await command
    await gm.stop(push=False)
    await page.close()


async def test_the_keyboard_is_enough(admitted: BrowserContext, begin: Opener) -> None:
    gm = await begin("by-keyboard")
    await gm.run("echo sun > forecast.py")
    page = await opened(admitted, "/")
    await _tab_to(page, "by-keyboard")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="by-keyboard")).to_be_visible()
    await _tab_to(page, "#1")
    await page.keyboard.press("Enter")
    await expect(page.locator("#entry-heading")).to_be_visible()
    await _tab_to(page, "Fork from here")
    await page.keyboard.press("Enter")
    await expect(page.locator("#confirm-heading")).to_be_visible()
    await page.locator("#name").focus()
    await page.keyboard.type("forked-by-keyboard")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="forked-by-keyboard")).to_be_visible(timeout=20_000)
    await expect(page.locator("#timeline")).to_contain_text("Forked from #1")
    await page.close()


async def _tab_to(page: Page, text: str) -> None:
    """Presses Tab until the focus is on something that says `text`, and sees that the focus can be seen."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if await focused.evaluate("e => e.tagName") == "A" and text in await focused.inner_text():
            assert await focused.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab never came to {text!r}")


@pytest.fixture(scope="module")
def story() -> str:
    return 'sed -i \'s/"rain"/"sun" if city == "Nice" else "rain"/\' forecast.py'


async def test_every_view_is_accessible_in_both_schemes(
    admitted: BrowserContext, begin: Opener, screenshots: Path, story: str
) -> None:
    gm = await begin("fix-forecast")
    await gm.run(story)
    await gm.run("python3 -m pytest -q || echo 'no tests yet'; echo warning: none found >&2; exit 1")
    await gm.commit("Let the sun shine in Nice")
    forks = [await gm.fork("fix-forecast-careful"), await gm.fork("fix-forecast-bold")]
    await forks[0].run("printf 'def test_nice():\\n    assert True\\n' > test_forecast.py")
    await forks[1].run("rm README.md; sed -i s/rain/snow/ forecast.py")
    await forks[1].run("python3 -c 'import forecast; print(forecast.forecast(1))'")
    await forks[1].pause()
    running = asyncio.create_task(
        gm.run("for i in 1 2 3; do echo step $i of many; done; until [ -e go ]; do sleep 0.05; done")
    )
    views = {
        "sessions": "/", "session": session_url(gm), "entry": f"{session_url(gm)}/1",
        "failed-entry": f"{session_url(gm)}/2",
        "diff": f"{session_url(gm)}/diff", "rewind": f"{session_url(gm)}/confirm/rewind?number=0",
        "fork": f"{session_url(gm)}/confirm/fork?number=1", "not-found": f"{session_url(gm)}/99",
        "side-by-side": "/compare?" + "&".join(f"s={one.record.id}" for one in (gm, *forks)),
    }  # fmt: skip
    page = await opened(admitted, session_url(gm))
    await expect(page.locator("pre[data-output]")).to_contain_text("step 3 of many")
    wrong = []
    for view, path in views.items():
        await page.emulate_media(color_scheme="light", reduced_motion="reduce")
        await page.goto(path)
        if view == "session":
            await expect(page.locator("pre[data-output]")).to_contain_text("step 3 of many")
        await page.screenshot(path=screenshots / f"{view}-light.png", full_page=True)
        await page.evaluate(f"() => {{ {AXE} }}")
        wrong += [f"{view} light: {found}" for found in await _violations(page, "axe.run()")]
        await page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        await page.screenshot(path=screenshots / f"{view}-dark.png", full_page=True)
        # Only the colours are others.
        wrong += [
            f"{view} dark: {found}" for found in await _violations(page, "axe.run({runOnly: ['color-contrast']})")
        ]
    await gm.write_file("go", "")
    await running
    assert not wrong, "\n".join(wrong)
    await page.close()


async def _violations(page: Page, run: str) -> list[str]:
    found = await page.evaluate(f"() => {run}")
    assert found["passes"]
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node['failureSummary'][:200]}"
        for violation in found["violations"]
        for node in violation["nodes"][:3]
    ]
