"""The contract and a whole session on E2B's real service: `make test-live`, with E2B_API_KEY set.

Some ninety sandboxes of the template `base` (2 vCPU, 512 MiB), most of them for a few seconds: at $0.11 an hour for
each, a run of ten minutes costs about two cents.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest

from gitmachine import E2BMachine, GitMachine, Machine, MachineState, sweeping
from gitmachine.settings import load
from gitmachine.testing import MachineContract

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def key(state_dir: Path) -> str:
    key = os.environ.get("E2B_API_KEY")
    if not key:
        pytest.fail("set E2B_API_KEY: https://e2b.dev/dashboard?tab=keys has one for you")
    return key


class TestE2BMachineLive(MachineContract):
    limit_s = 180.0
    grace_s = 15.0

    @pytest.fixture
    def machine(self) -> Machine:
        return E2BMachine(timeout=120)


async def test_a_session_goes_from_start_to_stop(tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", remote], check=True)
    gm = GitMachine(E2BMachine(timeout=120), str(remote), session=f"live-{uuid.uuid4().hex[:8]}")
    async with gm:
        assert (await gm.run("echo one >file; git --version")).ok
        first = await gm.commit("First")
        await gm.pause()
        assert gm.state is MachineState.PAUSED
        await gm.resume()
        assert (await gm.run("cat file; git log -1 --format=%H")).stdout == f"one\n{first}\n"
        await gm.run("echo two >>file")
    shown = subprocess.run(["git", "-C", remote, "show", f"{gm.session}:file"], capture_output=True, check=True)
    assert shown.stdout == b"one\ntwo\n"


async def test_no_sandbox_of_this_hosts_is_left() -> None:
    assert [finding.name for finding in await sweeping.examine(load())] == []
