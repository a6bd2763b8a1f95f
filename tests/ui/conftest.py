"""The page as a user has it: the command `gitmachine ui`, and a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from gitmachine import GitMachine, LocalMachine, MachineState
from tests import leaks
from tests.support.checkouts import git

LIMIT_S = 30.0
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="DIRECTORY", help="Where the tests of the page leave what it looks like.")


@dataclass(frozen=True)
class Place:
    """A state directory of the tests' own, and a repository to have sessions on."""

    state: Path
    repository: Path


@pytest.fixture(scope="module")
def place(session_dir: Path) -> Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="ui-", dir=session_dir))
    root.chmod(0o711)
    repository = root / "weather"
    repository.mkdir()
    (repository / "forecast.py").write_text('"""Tomorrow."""\n\n\ndef forecast(city):\n    return "rain"\n')
    (repository / "README.md").write_text("# Weather\n\nSays what comes.\n")
    git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "Begin")
    state = root / "state"
    state.mkdir(mode=0o711)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GITMACHINE_HOME", str(state))
        yield Place(state, repository)
        leaks.wait_for_builders(state)
    leaks.assert_nothing_runs(str(root))
    leaks.remove_tree(root)


Opener = Callable[..., Awaitable[GitMachine]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def begin(place: Place) -> AsyncIterator[Opener]:
    """Starts sessions; what is left of them goes at the end."""

    async def begun(name: str, repository: Path | None = None) -> GitMachine:
        gm = GitMachine(LocalMachine(), str(repository or place.repository), session=name)
        await gm.start()
        return gm

    yield begun
    from gitmachine.sessions import Registry
    from gitmachine.whereabouts import look

    for record in Registry().records():
        if (await look(record)).live:
            gm = await GitMachine.reopen(record.id)
            if gm.state is MachineState.PAUSED:
                await gm.resume()
            await gm.stop(push=False)


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
