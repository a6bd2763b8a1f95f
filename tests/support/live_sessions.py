"""Sessions that go on while something is shown of them, in a state directory that a module's tests share."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from gitmachine import GitMachine, LocalMachine, MachineState
from tests import leaks
from tests.support.checkouts import git


@dataclass(frozen=True)
class Place:
    """A state directory of the tests' own, and a repository to have sessions on."""

    state: Path
    repository: Path


@pytest.fixture(scope="module")
def place(session_dir: Path) -> Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="live-", dir=session_dir))
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
