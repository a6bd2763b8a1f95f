"""`watch` and `shell`: in a terminal, with what is going on in a session."""

from __future__ import annotations

import sys

import click

from gitmachine.cli.doing import do


@click.command("watch")
def watch_command() -> None:
    """Show all sessions as they go on, and what each has done; keys act on the one that is selected.

    Sessions that have ended are shown from their event log and the vault. Needs the extra `watch`.
    """
    do(_watch())


@click.command("shell")
@click.argument("name", required=False)
def shell_command(name: str | None) -> None:
    """Open an interactive shell in the checkout of a running session. Ctrl-] leaves and ends it.

    What it did is one entry of the session's history. Programs in it drive your terminal, as over ssh.
    """
    do(_shell(name))


COMMANDS = (watch_command, shell_command)


async def _watch() -> None:
    from gitmachine.errors import ConfigurationError
    from gitmachine.watch import watch

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError("the view needs a terminal: use `gitmachine ls` or `gitmachine events --follow`")
    await watch((sys.executable, "-m", "gitmachine.cli", "shell"))


async def _shell(name: str | None) -> int:
    from gitmachine.cli.shell import shell

    return await shell(name)
