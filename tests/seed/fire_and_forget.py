"""The seed's fire-and-forget, in two processes; the machine and the repository's address are ours.

`start` starts a job and prints the machine's id; `reconnect ID` takes it up from another process.
"""

import asyncio
import os
import sys
from typing import Any

from gitmachine import GitMachine, LocalMachine


def make_hooks() -> dict[str, Any]:
    """Shared hook factories — reuse across create and reconnect."""

    async def on_start(gm: GitMachine) -> None:
        print(f"[on_start] sandbox={gm.id} — installing tools")

    async def on_pause(gm: GitMachine) -> None:
        print(f"[on_pause] sandbox={gm.id} — saving state")

    async def on_resume(gm: GitMachine) -> None:
        print(f"[on_resume] sandbox={gm.id} — back online")

    async def on_end(gm: GitMachine) -> None:
        print(f"[on_end] sandbox={gm.id} — tearing down")

    def on_event(event: str, data: dict[str, Any], gm: GitMachine) -> None:
        print(f"[event:{event}] sandbox={gm.id}", data)

    return {
        "on_start": on_start,
        "on_pause": on_pause,
        "on_resume": on_resume,
        "on_end": on_end,
        "on_event": on_event,
    }


async def start_job() -> None:
    machine = LocalMachine()
    gm = GitMachine(
        machine=machine,
        repository=os.environ["REPOSITORY"],
        token=os.environ["TOKEN"],
        session="job-123",
        env={"ANTHROPIC_API_KEY": "sk-..."},
        **make_hooks(),  # all hooks wired up
    )
    await gm.start()
    # Fire and forget — don't await
    job = asyncio.create_task(gm.run("echo reviewed > review.txt", on_stdout=lambda data: print(data)))
    print("sandbox", gm.id, flush=True)
    result = await job
    print("Agent finished:", result.exit_code, flush=True)


async def reconnect_and_check(sandbox_id: str) -> None:
    machine = await LocalMachine.connect(sandbox_id)

    # Pass fresh hooks — previous ones don't survive across processes
    gm = await GitMachine.connect(
        machine,
        repository=os.environ["REPOSITORY"],
        token=os.environ["TOKEN"],
        session="job-123",
        **make_hooks(),  # hooks work on reconnect too
    )
    print("Reconnected, state:", gm.state)
    print("Current diff:\n", await gm.diff())
    print("HEAD:", await gm.hash())
    await gm.pause()  # on_pause fires
    await gm.resume()  # on_resume fires
    await gm.stop()  # on_end fires


asyncio.run(start_job() if sys.argv[1] == "start" else reconnect_and_check(sys.argv[2]))
