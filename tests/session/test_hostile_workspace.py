"""What an agent plants in its repository runs nowhere but in its machine, and hangs nobody.

The rows are those of our study of host git in a tree that a sandbox can write: each was shown to run an attacker's
program on the host, or to hang it, when the host's git touches such a tree.
"""

# ruff: noqa: E501 - a table reads better with a row a line

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from gitmachine import GitError, GitMachine, LocalMachine
from tests.support.git_server import TOKEN, Repository

PROGRAM = """cat > /tmp/evil <<'X'
#!/bin/sh
echo ran as $(id -u) in $(readlink /proc/self/ns/pid) >> {mark} 2>/dev/null
cat
X
chmod +x /tmp/evil; cp /tmp/evil ~/evil
"""

PLANTED = {
    "core.fsmonitor": "git config core.fsmonitor ~/evil",
    "hooks": "mkdir -p .git/hooks; for h in pre-commit post-commit commit-msg pre-push post-checkout post-merge "
    "reference-transaction post-index-change pre-auto-gc push-to-checkout; do cp ~/evil .git/hooks/$h; done",
    "core.hooksPath": "mkdir h; for h in pre-commit post-checkout reference-transaction; do cp ~/evil h/$h; done; "
    "git config core.hooksPath $PWD/h",
    "filter": "git config filter.x.clean ~/evil; git config filter.x.smudge ~/evil; echo '* filter=x' > .gitattributes",
    "filter in info/attributes": "git config filter.x.process ~/evil; mkdir -p .git/info; echo '* filter=x' > "
    ".git/info/attributes",
    "diff.external and textconv": "git config diff.external ~/evil; git config diff.x.textconv ~/evil; "
    "echo '* diff=x' > .gitattributes",
    "askPass and credential.helper": "git config core.askPass ~/evil; git config credential.helper ~/evil; "
    "git config core.sshCommand ~/evil",
    "gpg.program": "git config gpg.program ~/evil; git config commit.gpgSign true; git config push.gpgSign true",
    "uploadpack and ext": "git config remote.origin.uploadpack ~/evil; git config remote.origin.url 'ext::sh -c ~/evil'; "
    "git config protocol.ext.allow always; git config uploadpack.packObjectsHook ~/evil",
    "promisor remote": "git config extensions.partialClone origin; git config remote.origin.promisor true; "
    "git config remote.origin.uploadpack ~/evil; git config remote.origin.url $PWD/gone",
    "nested repository": "git init -q sub; git -C sub config core.fsmonitor ~/evil; cp ~/evil sub/.git/hooks/pre-commit "
    "2>/dev/null; echo x > sub/x",
    "include is a pipe": "mkfifo /tmp/pipe ~/pipe; git config include.path ~/pipe",
    "config is a pipe": "mv .git/config c; mkfifo .git/config",
    "HEAD is a pipe": "rm .git/HEAD; mkfifo .git/HEAD",
    "core.worktree": "git config core.worktree /etc",
    "gitdir file": "mv .git ../elsewhere; echo 'gitdir: /etc' > .git",
    "alternates to the host": "echo /var/lib > .git/objects/info/alternates; echo /root/.ssh >> "
    ".git/objects/info/alternates",
    "aliases and pagers": "git config alias.add '!~/evil'; git config core.pager ~/evil; git config core.editor ~/evil; "
    "git config sequence.editor ~/evil",
    "merge driver": "git config merge.x.driver ~/evil; echo '* merge=x' > .gitattributes",
    "trace": "git config trace2.eventTarget ~/trace; git config trace2.normalTarget af_unix:/tmp/s",
}  # fmt: skip


def operations(gm: GitMachine) -> tuple[Callable[[], Awaitable[object]], ...]:
    """All that reads or changes the checkout; the last of them leaves it as it was at the first."""
    return (
        gm.diff, gm.commit, gm.status, gm.hash, gm.pull, gm.push, gm.pause, partial(gm.diff, "session"), gm.resume,
        gm.list_files, partial(gm.read_file, "work.txt"), partial(gm.blame, "work.txt"), gm.history, gm.verify,
        partial(there_and_back, gm),
    )  # fmt: skip


async def there_and_back(gm: GitMachine) -> None:
    done = await gm.rewind(0)
    await gm.rewind(done.entry.number - 1)


@pytest.mark.parametrize("name", PLANTED)
async def test_no_planted_program_runs_on_the_host_and_nothing_hangs(
    name: str, project: Repository, state_dir: Path, session_dir: Path
) -> None:
    mark = session_dir / f"mark-{abs(hash(name))}"
    mark.touch()
    mark.chmod(0o666)
    machine = LocalMachine()
    gm = GitMachine(machine, project.url, TOKEN, session="fix-1", checkpoint="lifecycle")
    try:
        async with asyncio.timeout(100):
            await gm.start()
            result = await gm.run(PROGRAM.format(mark=mark) + PLANTED[name], timeout=20)
            assert result.exit_code == 0, result
            await gm.run("echo work > work.txt", timeout=20)
            for operation in operations(gm):
                with suppress(GitError):
                    await operation()
            outcome = await gm.stop()
    finally:
        await machine.stop()
    assert mark.read_text() == "", "a planted program ran on the host"
    mark.unlink()
    assert project.git("show", f"{outcome.sha}:work.txt") == "work"


async def test_the_mark_would_be_seen_if_a_program_ran_on_the_host(session_dir: Path) -> None:
    """The positive control: the planted program does leave its mark where it can."""
    mark = session_dir / "mark-control"
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", PROGRAM.format(mark=mark).replace("~/evil", f"{session_dir}/evil").replace("/tmp/evil", f"{session_dir}/e")
        + f"\n{session_dir}/evil < /dev/null"
    )  # fmt: skip
    await process.wait()
    assert "ran as" in mark.read_text()
    for file in (mark, session_dir / "evil", session_dir / "e"):
        file.unlink()
