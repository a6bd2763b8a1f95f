"""The page as a user has it: the command `gitmachine ui`, and a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.support.live_sessions import Place
from tests.support.live_sessions import begin as begin
from tests.support.live_sessions import place as place

LIMIT_S = 30.0
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="DIRECTORY", help="Where the tests of the page leave what it looks like.")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(place: Place) -> AsyncIterator[str]:
    """The address that lets in once, of a page that runs in a process of its own."""
    command = [str(Path(sys.executable).with_name("gitmachine")), "ui", "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), LIMIT_S)
    yield json.loads(line)["url"]
    process.terminate()
    _, said = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 143
    assert b"Traceback" not in said, said.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(session_dir: Path) -> AsyncIterator[Browser]:
    found = next((path for name in _CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("there is no chromium: `.ci/setup tests` installs it")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admitted(browser: Browser, address: str) -> AsyncIterator[BrowserContext]:
    """A browser that has used the address."""
    context = await browser.new_context(
        viewport={"width": 1360, "height": 900}, base_url=address.partition("/enter")[0]
    )
    context.set_default_timeout(10_000)
    page = await context.new_page()
    await page.goto(address)
    await page.get_by_role("heading", name="Sessions").wait_for()
    await page.close()
    yield context
    await context.close()


@pytest.fixture(scope="module")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = request.config.getoption("--screenshots", None)
    path = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path
