"""The seed's sequential example; the machine and the repository's address are ours."""

import asyncio
import os

from gitmachine import GitMachine, LocalMachine


async def main() -> None:
    machine = LocalMachine()

    async def on_start(gm: GitMachine) -> None:
        print("Setting up environment...")
        await gm.run("apt-get update && apt-get install -y git")

    async def on_end(gm: GitMachine) -> None:
        print("Session complete.")

    gm = GitMachine(
        machine=machine,
        repository=os.environ["REPOSITORY"],
        token=os.environ["TOKEN"],
        session="review-session",
        auto_commit=True,
        env={"ANTHROPIC_API_KEY": "sk-..."},
        timeout=300,
        on_start=on_start,
        on_end=on_end,
        on_event=lambda event, data, gm: print(f"[{event}]", data),
    )

    # Start — spins up VM, clones repo, checks out branch, runs on_start
    await gm.start()
    print("Machine started, repo at:", gm.path)

    # Run a command inside the sandbox
    result = await gm.run("ls -la")
    print(result.stdout)

    # Check git state
    print("HEAD:", await gm.hash())
    print("Diff:", await gm.diff())

    # Pause — auto-commits, disconnects from VM
    await gm.pause()
    print("Paused. State:", gm.state)

    # Resume — reconnects to the same sandbox
    await gm.resume()
    print("Resumed. State:", gm.state)

    # Manual commit and push
    await gm.run("echo 'hello from gitmachine' > gitmachine.txt")
    sha = await gm.commit("add gitmachine marker file")
    print("Committed:", sha)
    await gm.push()
    await gm.pull()

    await gm.update(env={"MORE": "1"}, on_update=lambda gm: print("Updated", gm.id))

    # Check logs
    print("Commands run:", len(gm.logs()))

    # Stop — auto-commits, pushes, kills VM
    await gm.stop()
    print("Done. State:", gm.state)


asyncio.run(main())
