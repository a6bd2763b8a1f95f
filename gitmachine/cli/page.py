"""`ui`: the sessions of this host in a browser."""

from __future__ import annotations

import click

from gitmachine.cli.doing import do, say


@click.command("ui")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of 127.0.0.1. Default: any that is free.")
@click.option("--no-open", is_flag=True, help="Only print the address; open no browser.")
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON on standard output; open no browser.")
def ui_command(port: int, no_open: bool, as_json: bool) -> None:
    """Show all sessions as a web page, on this host only, until Ctrl-C.

    The address lets in the browser that opens it first, and nobody after.
    """
    do(_ui(port, opens=not (no_open or as_json), as_json=as_json), as_json=as_json)


COMMANDS = (ui_command,)


async def _ui(port: int, *, opens: bool, as_json: bool) -> None:
    from gitmachine.ui import serve

    def ready(address: str) -> None:
        if as_json:
            click.echo(f'{{"url": "{address}"}}')
            return
        click.echo(address)
        say("this address works once, in one browser of this host; Ctrl-C ends the page and no session")
        if opens:
            click.launch(address)

    await serve(port, ready)
