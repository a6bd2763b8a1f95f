"""How every command runs: its coroutine, its signals, its errors and its exit code."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NoReturn

import click

from gitmachine.cli.exits import Exit, exit_for
from gitmachine.cli.interrupts import Interrupted, until_interrupted
from gitmachine.cli.pipes import silence
from gitmachine.cli.screen import answer_json, plain
from gitmachine.errors import AuthenticationFailed, GitMachineError, PushHeld


def do(work: Coroutine[Any, Any, int | None], *, as_json: bool = False) -> NoReturn:
    """Runs a command to its end and leaves with its exit code. An error is a message, never a traceback."""
    import asyncio  # here, since `--help` does without them

    from gitmachine.actor import acting

    try:
        with acting("cli"):
            code = asyncio.run(until_interrupted(work))
        sys.stdout.flush()
    except GitMachineError as error:
        code = tell(error, as_json=as_json)
    except OSError as error:
        code = _closed_pipe() if isinstance(error, BrokenPipeError) else tell(_as_ours(error), as_json=as_json)
    except Interrupted as interrupt:
        say(f"interrupted by {interrupt.number.name}; sessions go on: `gitmachine ls` shows them")
        code = interrupt.exit_code
    except KeyboardInterrupt:
        say("ended at once; sessions go on: `gitmachine ls` shows them")
        code = Exit.INTERRUPTED
    sys.exit(code or 0)


def say(text: str) -> None:
    """A line for the user that is not an answer."""
    with suppress(OSError):  # nobody may be there to read it
        click.echo(f"gitmachine: {plain(text)}", err=True)


def tell(error: GitMachineError, *, as_json: bool = False) -> Exit:
    """Says an error in the reader's language; the exit code for it."""
    code = exit_for(error)
    if click.get_current_context().find_root().params.get("debug"):
        traceback.print_exception(error)
    say("\n  ".join([str(error), *getattr(error, "__notes__", ()), *_next_step(error)]))
    if as_json:
        answer_json({"error": as_data(error), "exit_code": int(code)})
    return code


def _next_step(error: GitMachineError) -> list[str]:
    """What the library's message says in Python, as a command."""
    match error:
        case PushHeld():
            allowed = " ".join(f"--allow {shlex.quote(path)}" for path in error.outcome.held)
            return [f"`gitmachine push {allowed}` lets them through"]
        case AuthenticationFailed():
            return ["the token is taken from GITMACHINE_TOKEN, for github.com also from GH_TOKEN or GITHUB_TOKEN"]
        case _:
            return []


def as_data(error: GitMachineError) -> dict[str, Any]:
    """An error as JSON."""
    return {"type": type(error).__name__, "message": str(error), "retryable": error.retryable}


def _as_ours(error: OSError) -> GitMachineError:
    ours = GitMachineError(f"{error}; `gitmachine doctor` looks at this host")
    ours.__cause__ = error
    return ours


def _closed_pipe() -> Exit:
    silence(sys.stdout.fileno())
    return Exit.CLOSED_PIPE
