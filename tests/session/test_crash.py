"""The host's process dies with kill -9 in the middle of a command: the session and its work are still there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from gitmachine import GitMachine, MachineState, Registry
from tests.support.git_server import TOKEN, Repository, git

PROGRAM = """
import asyncio, sys
from gitmachine import GitMachine, LocalMachine

async def main():
    gm = GitMachine(LocalMachine(), sys.argv[1], sys.argv[2], session="crash")
    await gm.start()
    await gm.run("echo one > one.txt")
    await gm.commit("one")
    await gm.run("echo two > two.txt")
    await gm.spawn("while :; do echo tick >> ../ticks; sleep 0.05; done")
    await gm.run("echo three > three.txt; echo in flight; sleep 1000", on_stdout=lambda t: print(t, flush=True))

asyncio.run(main())
"""


async def test_after_kill_9_the_session_is_listed_goes_on_and_has_lost_nothing(
    project: Repository, state_dir: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, project.url, TOKEN], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "in flight"
        process.send_signal(signal.SIGKILL)
    (record,) = Registry().records()
    assert (record.session, record.state) == ("crash", MachineState.RUNNING)
    vault = next(state_dir.glob("vaults/*/sessions.git"))
    kept = git(
        "--git-dir", str(vault), "ls-tree", "--name-only", f"refs/gitmachine/sessions/{record.id}/files", cwd=vault
    )
    assert {"one.txt", "two.txt"} <= set(kept.split())
    gm = await GitMachine.reopen("crash", TOKEN)
    assert gm.state is MachineState.RUNNING
    assert (await gm.run("cat one.txt two.txt three.txt")).stdout == "one\ntwo\nthree\n"
    assert (await gm.run("pgrep -fx 'sleep 1000'")).stdout == "", "the command in flight ended with its caller"
    await gm.run("before=$(wc -l < ../ticks); until [ $(wc -l < ../ticks) -gt $before ]; do :; done", timeout=20)
    assert gm.logs()[-1].result.ok, "the background process lives on"
    await gm.stop()
    assert project.git("show", "crash:three.txt") == "three"
    assert project.git("log", "--format=%s", "-1", "crash~1") == "one"
