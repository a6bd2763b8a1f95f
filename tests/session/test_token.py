"""The token of the remote is in no file, environment, command line, event, log or error."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from gitmachine import ExecuteOptions, GitMachine, GitMachineError
from gitmachine.git.remote import parse_remote
from tests.session.conftest import Opener
from tests.support.git_server import TOKEN, GitServer, Repository

HUNT = r"""
for form in $(cat /tmp/forms); do
    grep -rlF --exclude=forms --exclude-dir=usr --exclude-dir=proc -e "$form" / 2>/dev/null
    for p in /proc/[0-9]*; do
        tr '\0' '\n' < $p/environ 2>/dev/null | grep -qF -e "$form" && echo $p/environ
        tr '\0' '\n' < $p/cmdline 2>/dev/null | grep -qF -e "$form" && echo $p/cmdline
    done
done
git config --list --show-origin
"""


async def test_a_hunt_in_the_machine_and_on_the_host_finds_nothing(
    session: Opener, project: Repository, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remote = parse_remote(project.url, TOKEN)
    assert remote.credential is not None
    forms = remote.credential.forms()
    assert len(forms) > 4
    gm = await session()
    await gm.run("echo work > work.txt")
    await gm.commit()
    await gm.push()
    await gm.pull()
    if type(gm.machine).__name__ == "LocalMachine":
        # The forms go in by the hunter's own file, which is the only place where they may be found.
        await gm.machine.write_file("/tmp/forms", "\n".join(forms))
        found = await gm.machine.execute(HUNT, ExecuteOptions(cwd=gm.path))
        hits = [line for line in found.stdout.splitlines() if line.startswith("/")]
        assert hits == []
        assert f"remote.origin.url={project.url}" in found.stdout
    await gm.stop()
    plain = [TOKEN.encode(), *(form.encode() for form in forms)]
    assert [str(path) for path in _files(state_dir) if any(form in path.read_bytes() for form in plain)] == []
    assert not any(form.decode() in caplog.text for form in plain)


async def test_no_git_process_of_the_host_has_it_on_its_command_line(session: Opener, project: Repository) -> None:
    gm = await session()
    await gm.run("echo work > work.txt")
    gate = project.path / "gate"
    os.mkfifo(gate)
    project.hook("pre-receive", f"cat {gate} > /dev/null")
    stopping = asyncio.create_task(gm.stop())
    lines: list[str] = []
    async with asyncio.timeout(60):
        while True:
            lines = await asyncio.to_thread(_command_lines, "git push")
            if lines:
                break
    assert not any(TOKEN in line for line in lines)
    await asyncio.to_thread(gate.write_text, "go")
    await stopping


@pytest.mark.parametrize("call", ["start", "push", "pull", "stop"])
async def test_no_error_has_it(session: Opener, project: Repository, git_server: GitServer, call: str) -> None:
    spelled = project.url.replace("//", "//user:wrong-secret-token@")
    if call == "start":
        with pytest.raises(GitMachineError) as caught:
            await session(spelled)
        assert "wrong-secret-token" not in f"{caught.value!r} {caught.value}"
        return
    gm = await session()
    await gm.run("echo work > work.txt")
    await gm.commit()
    git_server.token = "another"
    with pytest.raises(GitMachineError) as caught:
        await getattr(gm, call)()
    assert TOKEN not in f"{caught.value!r} {caught.value} {caught.value.__dict__}"


async def test_a_token_that_a_command_prints_does_not_reach_events_or_the_log_of_commands(
    session: Opener, state_dir: Path
) -> None:
    gm: GitMachine = await session()
    await gm.run(f"echo {TOKEN}")
    await gm.stop()
    for path in _files(state_dir / "sessions"):
        assert TOKEN.encode() not in path.read_bytes(), path


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]


def _command_lines(wanted: str) -> list[str]:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if wanted in line and "pytest" not in line:
                lines.append(line)
    return lines
