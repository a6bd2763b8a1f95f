"""GitMachineSandbox beyond the standard suite."""

from __future__ import annotations

import asyncio
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from gitmachine import GitMachine, LocalMachine, MissingExtra, sync
from langchain_gitmachine import GitMachineSandbox, gitmachine_backend
from tests.support.git_server import Repository


@pytest.fixture
def sandbox(gm: GitMachine) -> GitMachineSandbox:
    return GitMachineSandbox(gm)


async def test_a_file_that_may_not_be_read_is_told_apart_from_one_that_is_not_there(
    gm: GitMachine, sandbox: GitMachineSandbox
) -> None:
    """The standard suite accepts either, and so proves nothing of it."""
    await gm.run("echo secret > locked.txt; chmod 000 locked.txt; mkdir closed; chmod 500 closed; id -u > uid.txt")
    assert (await gm.read_file("uid.txt")).strip() != "0"
    paths = [f"{gm.path}/{name}" for name in ("locked.txt", "missing.txt", "closed", "calc.py")]
    answers = await sandbox.adownload_files([*paths, "relative.txt"])
    assert [answer.error for answer in answers] == [
        "permission_denied", "file_not_found", "is_directory", None, "invalid_path",
    ]  # fmt: skip
    uploads = await sandbox.aupload_files(
        [(f"{gm.path}/closed/a.txt", b""), ("/usr/a.txt", b""), (f"{gm.path}/calc.py/a.txt", b""), (gm.path, b"")]
    )
    assert [answer.error for answer in uploads][:1] == ["permission_denied"]
    assert uploads[1].error is not None
    assert [answer.error for answer in uploads][2:] == ["invalid_path", "is_directory"]
    await gm.run("chmod 600 locked.txt; chmod 700 closed")


async def test_commands_are_the_sessions_and_file_calls_are_not(gm: GitMachine, sandbox: GitMachineSandbox) -> None:
    await sandbox.als(gm.path)
    await sandbox.aread(f"{gm.path}/calc.py")
    await sandbox.agrep("return", gm.path)
    await sandbox.aglob("*.py", gm.path)
    assert gm.logs() == []
    assert (await sandbox.aexecute("pwd")).output == f"{gm.path}\n"
    assert [entry.command for entry in gm.logs()] == ["pwd"]


async def test_written_files_are_durable_and_files_outside_the_checkout_cost_nothing(
    gm: GitMachine, sandbox: GitMachineSandbox
) -> None:
    async def checkpoints() -> int:
        return [event.name for event in await gm.events()].count("checkpointed")

    before = await checkpoints()
    await sandbox.awrite(f"{gm.path}/a.txt", "a\n")
    assert await checkpoints() == before + 1
    await sandbox.aedit(f"{gm.path}/a.txt", "a", "b")
    assert await checkpoints() == before + 2
    await sandbox.awrite("/tmp/elsewhere.txt", "x")
    assert await checkpoints() == before + 2
    assert (await sandbox.adelete(f"{gm.path}/a.txt")).error is None
    assert await checkpoints() == before + 3


async def test_a_timeout_keeps_the_output_and_a_cancellation_kills(gm: GitMachine, sandbox: GitMachineSandbox) -> None:
    late = await sandbox.aexecute("echo before; sleep 4329", timeout=1)
    assert (late.exit_code, late.output) == (124, "before\n")
    task = asyncio.create_task(sandbox.aexecute("sleep 4330"))
    await gm.machine.execute("until pgrep -f '[s]leep 4330'; do sleep 0.01; done")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await gm.machine.execute("pgrep -f '[s]leep 43'")).stdout == ""


async def test_a_command_on_a_paused_session_says_so(gm: GitMachine, sandbox: GitMachineSandbox) -> None:
    await gm.pause()
    refused = await sandbox.aexecute("true")
    assert refused.exit_code is None
    assert "resume()" in refused.output


def test_one_sandbox_serves_loops_and_threads(plain: sync.GitMachine) -> None:
    sandbox = GitMachineSandbox(plain)
    assert asyncio.run(sandbox.aexecute("echo 1")).output == "1\n"
    assert asyncio.run(sandbox.aexecute("echo 2")).output == "2\n"
    assert sandbox.execute("echo 3").output == "3\n"
    assert sandbox.id == plain.id


def test_what_deepagents_writes_of_its_own_stays_out_of_the_repository() -> None:
    backend = gitmachine_backend(sync.GitMachine(LocalMachine()))
    assert backend.artifacts_root == "/tmp/gitmachine"
    assert isinstance(backend.default, GitMachineSandbox)


# --- the provider for deepagents-code ------------------------------------------------------------------------


def test_the_entry_point_is_there_and_says_what_it_needs() -> None:
    (entry,) = metadata.entry_points(group="deepagents_code.sandbox_providers", name="gitmachine")
    assert entry.value == "langchain_gitmachine.provider:GitMachineSandboxProvider"
    if find_spec("deepagents_code") is None:
        with pytest.raises(MissingExtra, match="deepagents-code"):
            entry.load()


if find_spec("deepagents_code") is not None:

    def test_the_provider_makes_finds_and_deletes_sandboxes(project: Repository, state_dir: Path) -> None:
        from deepagents_code.integrations.sandbox_provider import SandboxNotFoundError
        from deepagents_code.integrations.sandbox_registry import SandboxRegistry

        provider = SandboxRegistry().create_provider("gitmachine")
        made = provider.get_or_create(repository=str(project.path), session="by-dcode")
        made.execute("echo work > work.txt")
        again = provider.get_or_create(sandbox_id=made.id)
        assert again.execute("cat work.txt").output == "work\n"
        provider.delete(sandbox_id=made.id)
        assert project.git("show", "by-dcode:work.txt") == "work"
        with pytest.raises(SandboxNotFoundError):
            provider.get_or_create(sandbox_id="no-such-sandbox")
