"""Where every test's state lives, and the proof that none of it is left."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leaks
from tests.support.docker_engine import DockerEngine, docker_engine


@pytest.fixture(scope="session", autouse=True)
def session_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The one directory below which a whole run makes its files; `TMPDIR` for us and for our children.

    0711 and directly below the real temporary directory: a machine started by root runs as another user, who
    must be able to reach its home, and pytest's own `tmp_path` is closed to him.
    """
    tmp_path_factory.getbasetemp()  # made while TMPDIR is still the real one, so that it outlives the run
    path = Path(tempfile.mkdtemp(prefix=f"gm-{os.getpid()}-")).resolve()
    path.chmod(0o711)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # for runs of pytest within the run
        environment.setenv("TMPDIR", str(path))
        environment.setattr(tempfile, "tempdir", str(path))
        yield path
    left = sorted(entry.name for entry in path.iterdir())
    try:
        leaks.assert_nothing_runs(str(path))
    finally:
        leaks.remove_tree(path)
    assert not left, f"temporary files left behind: {left}"


@pytest.fixture
def state_dir(session_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory of this test's own, made the one in force by `GITMACHINE_HOME`.

    At the end of the test nothing may run in it; builders of spare homes are waited for.
    """
    path = Path(tempfile.mkdtemp(prefix="state-", dir=session_dir))
    path.chmod(0o711)
    monkeypatch.setenv("GITMACHINE_HOME", str(path))
    yield path
    leaks.wait_for_builders(path)
    try:
        leaks.assert_nothing_runs(str(path))
    finally:
        leaks.remove_tree(path)


@pytest.fixture(scope="session")
def container_engine(session_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """The run's own container engine."""
    if os.geteuid() != 0:
        pytest.skip("only as root: the tests' container engine is started by hand")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with docker_engine(shared / "engine") as engine:
        yield engine


@pytest.fixture
def docker(container_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> DockerEngine:
    """A container engine, made the one in force by `DOCKER_HOST`."""
    monkeypatch.setenv("DOCKER_HOST", container_engine.host)
    return container_engine
