"""What LocalMachine costs: a command, a start, a pause, a gibibyte of output; as ratios to the plain thing."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from gitmachine.machines.local import LocalMachine
from gitmachine.machines.local.probe import BWRAP_ENVIRONMENT, bwrap_path
from gitmachine.machines.local.user import machine_user
from gitmachine.types import ExecuteOptions

GIB = 1024**3
BARE = "--unshare-user --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup --ro-bind / / true"


async def median_ms(work: Callable[[], Awaitable[object]], times: int) -> float:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1000


async def bare_bwrap() -> None:
    user = machine_user()
    process = await asyncio.create_subprocess_exec(
        bwrap_path(),
        *BARE.split(),
        env=BWRAP_ENVIRONMENT,
        user=user.uid if user.switch else None,
        group=user.gid if user.switch else None,
        extra_groups=[] if user.switch else None,
    )
    assert await process.wait() == 0


async def plain(command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "/bin/bash", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    while await process.stdout.read(256 * 1024):
        pass
    await process.wait()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gm-bench-") as state:
        Path(state).chmod(0o711)
        began = time.perf_counter()
        machine = LocalMachine(state_dir=state)
        await machine.start()
        await machine.execute("true")
        start_ms = (time.perf_counter() - began) * 1000
        try:
            await report(machine, start_ms)
        finally:
            await machine.stop()


async def report(machine: LocalMachine, start_ms: float) -> None:
    true_ms = await median_ms(lambda: machine.execute("true"), 200)
    bare_ms = await median_ms(bare_bwrap, 30)
    plain_ms = await median_ms(lambda: plain("true"), 50)
    print(f"uid {os.geteuid()}, freezer {machine.capabilities.freezer}")
    print(f"execute('true')   {true_ms:8.2f} ms  {true_ms / bare_ms:.2f} of a bare bwrap ({bare_ms:.2f} ms)")
    print(f"                              {true_ms / plain_ms:.2f} of a plain asyncio subprocess ({plain_ms:.2f} ms)")
    print(f"start to result   {start_ms:8.2f} ms  {start_ms / bare_ms:.2f} of a bare bwrap")
    await machine.pause()
    await machine.resume()
    began = time.perf_counter()
    await machine.pause()
    pause_ms = (time.perf_counter() - began) * 1000
    began = time.perf_counter()
    await machine.resume()
    await machine.execute("true")
    resume_ms = (time.perf_counter() - began) * 1000
    print(f"pause             {pause_ms:8.2f} ms, resume to first result {resume_ms:.2f} ms")
    stream = f"head -c {GIB} /dev/zero"
    ours_ms = await median_ms(lambda: machine.execute(stream, ExecuteOptions()), 1)
    theirs_ms = await median_ms(lambda: plain(stream), 1)
    print(
        f"1 GiB of output   {ours_ms:8.0f} ms  {ours_ms / theirs_ms:.2f} of a plain asyncio pipe ({theirs_ms:.0f} ms)"
    )


if __name__ == "__main__":
    asyncio.run(main())
