"""The seed's quick start; the machine and the repository's address are ours, every other word is the seed's."""

import asyncio
import os

from gitmachine import GitMachine, LocalMachine


async def main() -> None:
    machine = LocalMachine(env={"npm_config_fetch_retries": "0"})  # there is no network: let npm give up at once

    async def on_start(gm: GitMachine) -> None:
        await gm.run("npm install -g @anthropic-ai/claude-code")

    gm = GitMachine(
        machine=machine,
        repository=os.environ["REPOSITORY"],
        token=os.environ["TOKEN"],
        session="feature-work",
        auto_commit=True,
        env={"ANTHROPIC_API_KEY": "sk-..."},
        on_start=on_start,
        on_event=lambda event, data, gm: print(f"[{event}]", data),
    )

    await gm.start()  # VM up → repo cloned → branch checked out → on_start runs

    result = await gm.run("claude -p 'review this code' --print")
    print(result.stdout)

    await gm.pause()  # auto-commits → VM paused

    # ... later ...

    await gm.resume()  # VM comes back, repo state intact
    await gm.run("claude -p 'continue the review' --print")

    await gm.stop()  # auto-commits → pushes → VM torn down


asyncio.run(main())
