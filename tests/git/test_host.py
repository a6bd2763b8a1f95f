"""The host's own git: its environment, its errors, its end."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gitmachine.errors import (
    AuthenticationFailed,
    GitError,
    RemoteUnreachable,
    RepositoryError,
    RepositoryNotFound,
    VaultError,
)
from gitmachine.git.environment import host_environment
from gitmachine.git.failures import failure
from gitmachine.git.host import HostGit
from gitmachine.git.remote import Remote, parse_remote
from gitmachine.git.vault import Vault
from tests.git.conftest import OpenVault
from tests.support.git_server import TOKEN, GitServer, Repository

SPELLINGS = [
    TOKEN.encode(),
    quote(TOKEN, safe="").encode(),
    base64.b64encode(TOKEN.encode()).rstrip(b"="),
    base64.b64encode(f"x-access-token:{TOKEN}".encode()).rstrip(b"="),
]


def has_token(data: bytes) -> bool:
    return any(spelling in data for spelling in SPELLINGS)


async def ask(url: str, token: str | None = TOKEN, timeout: float | None = None) -> None:
    remote = parse_remote(url, token)
    await HostGit().run("ls-remote", "--", remote.url, git_dir=None, remote=remote, timeout=timeout)


async def test_the_right_token_is_let_in(project: Repository) -> None:
    await ask(project.url)


async def test_a_wrong_token_is_authentication_failed_and_stays_secret(project: Repository) -> None:
    with pytest.raises(AuthenticationFailed, match="refused the token") as caught:
        await ask(project.url, "another-wrong-token")
    assert "another-wrong-token" not in str(caught.value) + repr(caught.value.argv) + caught.value.stderr


async def test_no_token_and_no_helper_is_authentication_failed(
    project: Repository, monkeypatch: pytest.MonkeyPatch, state_dir: Path
) -> None:
    monkeypatch.setenv("HOME", str(state_dir))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    with pytest.raises(AuthenticationFailed, match="without a token"):
        await ask(project.url, None)


async def test_the_users_own_credential_helper_is_used_without_a_token(
    project: Repository, monkeypatch: pytest.MonkeyPatch, state_dir: Path
) -> None:
    (state_dir / ".gitconfig").write_text(f'[credential]\n\thelper = "!echo username=me; echo password={TOKEN} #"\n')
    monkeypatch.setenv("HOME", str(state_dir))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    await ask(project.url, None)


async def test_a_repository_that_is_not_there_is_not_found(git_server: GitServer, state_dir: Path) -> None:
    with pytest.raises(RepositoryNotFound):
        await ask(f"{git_server.base_url}/nothing.git")
    (state_dir / "plain").mkdir()
    for path in ("plain", "missing"):
        with pytest.raises(RepositoryNotFound, match="there is no repository"):
            await ask(str(state_dir / path), None)


async def test_a_server_that_is_down_is_unreachable(git_server: GitServer) -> None:
    git_server.stop()
    with pytest.raises(RemoteUnreachable) as caught:
        await ask(f"{git_server.base_url}/project.git")
    assert caught.value.retryable


async def test_a_server_that_never_answers_is_unreachable_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(RemoteUnreachable, match="did not answer within"):
            await ask(f"http://127.0.0.1:{silent.getsockname()[1]}/x.git", timeout=0.5)
        assert time.monotonic() - started < 5


async def test_a_cancelled_call_leaves_no_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"
        task = asyncio.create_task(ask(url))
        await until(lambda: processes_with(url))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not processes_with(url))


async def test_a_failing_input_reaches_the_caller_and_leaves_no_process(state_dir: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"PACK"
        raise OSError("the machine went away")

    with pytest.raises(OSError, match="went away"):
        await HostGit().run("hash-object", "--stdin", git_dir=state_dir, stdin=failing())


async def test_the_token_is_in_no_command_line_while_git_talks(
    project: Repository, open_vault: OpenVault, state_dir: Path
) -> None:
    gate, arrived = state_dir / "gate", state_dir / "arrived"
    os.mkfifo(gate)
    project.hook("pre-receive", f"touch {arrived}; read line < {gate}")
    vault = await open_vault(project)
    assert vault.remote is not None
    await vault.fetch()
    head = project.heads()["main"]
    push = asyncio.create_task(
        vault.git.run("push", vault.remote.url, f"{head}:refs/heads/new", git_dir=vault.upstream, remote=vault.remote)
    )
    await until(arrived.exists)
    seen = command_lines()
    gate.write_text("go\n")
    done = await push
    assert any(project.url.encode() in line for line in seen), "the push was seen"
    assert not any(has_token(line) for line in seen)
    assert not has_token(repr(done).encode())


async def test_the_token_is_in_no_file_of_the_vault(vault: Vault) -> None:
    await vault.fetch()
    for file in vault.path.rglob("*"):
        assert not (file.is_file() and has_token(file.read_bytes())), file


def test_the_environment_is_made_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("GIT_TRACE", "1")
    for remote in (None, parse_remote("https://h/x", "token-token")):
        names = host_environment(remote).keys()
        assert not names & {"SECRET_OF_THE_HOST", "GIT_DIR", "GIT_TRACE", "SSH_AUTH_SOCK"}


async def test_git_never_runs_a_helper_of_an_unknown_protocol(state_dir: Path) -> None:
    remote = Remote(f"ext::touch {state_dir}/pwned", "https", "h")
    with pytest.raises(GitError):
        await HostGit().run("ls-remote", "--", remote.url, git_dir=None, remote=remote)
    assert not (state_dir / "pwned").exists()


async def test_a_local_failure_is_the_vaults_and_names_the_command(state_dir: Path) -> None:
    with pytest.raises(VaultError, match="rev-parse") as caught:
        await HostGit().run("rev-parse", "--verify", "nothing", git_dir=state_dir)
    assert caught.value.exit_code == 128


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("fatal: detected dubious ownership in repository at '/srv/x'", RepositoryError),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", RepositoryNotFound),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", AuthenticationFailed),
        ("fatal: unable to access 'https://h/': Could not resolve host: h", RemoteUnreachable),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 403", AuthenticationFailed),
        ("error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502", RemoteUnreachable),
        ("fatal: something else", RepositoryError),
    ],
)
def test_a_remotes_failure_has_the_kind_that_git_tells(stderr: str, kind: type[GitError]) -> None:
    error = failure(("git", "fetch"), 128, stderr, Remote("https://h/x", "https", "h"))
    assert type(error) is kind


def test_dubious_ownership_says_the_remedy() -> None:
    error = failure(("git",), 128, "dubious ownership in repository at '/srv/x'", Remote("/srv/x", "file", None))
    assert "git config --global --add safe.directory /srv/x" in str(error)


async def until(condition: object) -> None:
    """Waits for the condition, not longer than ten seconds."""
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # what it asks happens in other processes
            await asyncio.sleep(0.01)


def command_lines() -> list[bytes]:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return lines


def processes_with(text: str) -> list[bytes]:
    return [line for line in command_lines() if line.startswith(b"git") and text.encode() in line]
