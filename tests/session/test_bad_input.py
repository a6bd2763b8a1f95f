"""Bad input and bad surroundings: one typed error that names the thing and the next step, and no machine left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gitmachine import (
    AuthenticationFailed,
    BranchNotFound,
    ConfigurationError,
    GitIdentity,
    GitMachine,
    GitMachineError,
    InvalidSessionName,
    LocalMachine,
    MachineState,
    RemoteUnreachable,
    RepositoryError,
    RepositoryNotFound,
    StateError,
)
from tests.session.conftest import MachineMaker, Opener
from tests.support.git_server import TOKEN, GitServer, Repository


@pytest.mark.parametrize(
    "name",
    ["", "-x", "a..b", "a b", "a~b", "/a", "a/", "a.lock", "@{", "HEAD", "a\x01", "x" * 300, ".a", "a//b", "a\\b"],
)
def test_a_name_that_cannot_be_a_branch_is_refused_before_anything_starts(name: str) -> None:
    with pytest.raises(InvalidSessionName, match="session"):
        GitMachine(LocalMachine(), "https://example.invalid/r.git", session=name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"repository": "--upload-pack=x"}, "-"),
        ({"repository": "ext::sh -c id"}, "ext"),
        ({"repository": "gopher://x/y"}, "gopher"),
        ({"repository": ""}, "repository"),
        ({"repository": "https://example.invalid/r.git\nx"}, "control"),
        ({"timeout": 0}, "timeout"),
        ({"checkpoint": "always"}, "lifecycle"),
        ({"identity": GitIdentity("", "a@b")}, "identity"),
        ({"identity": GitIdentity("a <b>", "a@b")}, "identity"),
        ({"env": {"A=B": "x"}}, "environment"),
        ({"repository": None, "token": "x"}, "without a repository"),
    ],
)
def test_bad_arguments_are_refused_by_the_constructor(options: dict[str, Any], words: str) -> None:
    arguments = {"repository": "https://example.invalid/r.git", "session": "fix-1", **options}
    with pytest.raises(ConfigurationError) as caught:
        GitMachine(LocalMachine(), **arguments)
    assert words in str(caught.value)


async def _refused(
    make_machine: MachineMaker, kind: type[GitMachineError], words: str, repository: str, **options: Any
) -> None:
    """The start fails as it should, and leaves no machine and no session."""
    machine = make_machine()
    gm = GitMachine(machine, repository, **{"session": "fix-1", **options})
    with pytest.raises(kind) as caught:
        await gm.start()
    assert words in str(caught.value)
    assert machine.state is MachineState.STOPPED
    from gitmachine import Registry

    assert Registry().records() == []


async def test_a_wrong_url_is_named(make_machine: MachineMaker, git_server: GitServer, state_dir: Path) -> None:
    url = f"{git_server.base_url}/no-such.git"
    await _refused(make_machine, RepositoryNotFound, "no-such.git", url, token=TOKEN)


async def test_a_wrong_token_is_an_authentication_error(
    make_machine: MachineMaker, project: Repository, state_dir: Path
) -> None:
    await _refused(make_machine, AuthenticationFailed, project.url, project.url, token="wrong")


async def test_a_remote_that_does_not_answer_is_named(
    make_machine: MachineMaker, git_server: GitServer, project: Repository, state_dir: Path
) -> None:
    git_server.stop()
    await _refused(make_machine, RemoteUnreachable, project.url, project.url, token=TOKEN)


async def test_a_path_that_is_no_repository_is_named(
    make_machine: MachineMaker, session_dir: Path, state_dir: Path
) -> None:
    await _refused(make_machine, RepositoryError, str(state_dir), str(state_dir))


async def test_a_base_that_is_not_there_is_answered_with_those_that_are(
    make_machine: MachineMaker, project: Repository, state_dir: Path
) -> None:
    await _refused(make_machine, BranchNotFound, "main", project.url, token=TOKEN, base="no-such-branch")


async def test_a_repository_without_a_default_branch_asks_for_a_base(
    make_machine: MachineMaker, git_server: GitServer, state_dir: Path
) -> None:
    repository = git_server.without_default("headless")
    await _refused(make_machine, BranchNotFound, "trunk", repository.url, token=TOKEN)


async def test_a_name_below_an_existing_branch_is_refused_now_and_not_at_the_push(
    make_machine: MachineMaker, project: Repository, state_dir: Path
) -> None:
    await _refused(make_machine, ConfigurationError, "'main'", project.url, token=TOKEN, session="main/sub")


async def test_a_session_that_is_live_cannot_be_started_again(session: Opener, project: Repository) -> None:
    gm = await session()
    if not gm.machine.capabilities.reconnect:
        pytest.xfail("a provider without connect() cannot tell whether its machine lives")
    with pytest.raises(StateError, match="resume"):
        await session()
    assert gm.state is MachineState.RUNNING
    assert (await gm.run("true")).ok


async def test_a_state_directory_that_cannot_be_written_is_named(
    project: Repository, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not even root can make a directory below a file.
    blocked = state_dir / "file"
    blocked.write_text("")
    monkeypatch.setenv("GITMACHINE_HOME", str(blocked))
    machine = LocalMachine()
    gm = GitMachine(machine, project.url, TOKEN, session="fix-1")
    with pytest.raises(GitMachineError) as caught:
        await gm.start()
    assert str(blocked) in str(caught.value)
    assert machine.state in (MachineState.IDLE, MachineState.STOPPED)


NO_BUBBLEWRAP = """
import asyncio
from gitmachine import GitMachine, LocalMachine, MachineUnavailable
try:
    asyncio.run(GitMachine(LocalMachine(), session="fix-1").start())
except MachineUnavailable as error:
    print(error)
"""


def test_without_bubblewrap_the_error_says_how_to_get_it(state_dir: Path) -> None:
    """In a sandbox of its own, where the file is hidden."""
    found = shutil.which("bwrap")
    assert found is not None
    done = subprocess.run(
        ["bwrap", "--dev-bind", "/", "/", "--ro-bind", "/dev/null", found, "--", sys.executable, "-c", NO_BUBBLEWRAP],
        capture_output=True, text=True, check=False, timeout=60, env=dict(os.environ),
    )  # fmt: skip
    assert "apt install bubblewrap" in done.stdout, done.stderr


FULL_DISK = """
import asyncio, os, sys
from pathlib import Path
from gitmachine import GitMachine, GitMachineError
from tests.providers.plain import PlainMachine

async def main():
    gm = GitMachine(PlainMachine(), session="fix-1", checkpoint="lifecycle")
    await gm.start()
    await gm.run("echo work > work.txt; head -c 9000000 /dev/urandom > big.bin")
    try:
        await gm.pause()
    except GitMachineError as error:
        print(type(error).__name__, gm.state)
    (Path(os.environ["GITMACHINE_HOME"]) / "ballast").unlink()
    await gm.pause()
    outcome = await gm.stop()
    print(outcome.where, gm.state)

asyncio.run(main())
"""


def test_on_a_full_disk_a_pause_fails_keeps_the_machine_and_succeeds_once_there_is_room(session_dir: Path) -> None:
    """The state directory is a file system of 20 MB of which 14 are taken."""
    small = "/mnt"
    script = f"head -c 14000000 /dev/zero > {small}/ballast && exec {sys.executable} -c '{FULL_DISK}'"
    done = subprocess.run(
        ["bwrap", "--dev-bind", "/", "/", "--size", "20000000", "--tmpfs", small, "--", "sh", "-c", script],
        capture_output=True, text=True, check=False, timeout=100, cwd=Path(__file__).parents[2],
        env={**os.environ, "GITMACHINE_HOME": small},
    )  # fmt: skip
    assert done.stdout.split() == ["VaultError", "running", "vault", "stopped"], done.stderr
