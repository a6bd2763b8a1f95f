"""What the tests over all machines on this host share: a state directory and an engine for a whole file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import leaks
from tests.support.docker_engine import DockerEngine


@contextmanager
def own_state(session_dir: Path) -> Iterator[Path]:
    """A state directory, made the one in force by `GITMACHINE_HOME`. At the end nothing may run in it."""
    path = Path(tempfile.mkdtemp(prefix="state-", dir=session_dir))
    path.chmod(0o711)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GITMACHINE_HOME", str(path))
        yield path
    try:
        leaks.assert_nothing_runs(str(path))
    finally:
        leaks.remove_tree(path)


@contextmanager
def engine_for(request: pytest.FixtureRequest, kind: str) -> Iterator[DockerEngine | None]:
    """The run's engine in force by `DOCKER_HOST`, where a kind of machine needs one."""
    if kind != "docker":
        yield None
        return
    engine: DockerEngine = request.getfixturevalue("container_engine")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DOCKER_HOST", engine.host)
        yield engine
