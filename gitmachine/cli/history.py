"""`log`, `rewind`, `blame`, `verify`, `fork` and `compare`: what was done, back to it, and off from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gitmachine.cli.doing import do

if TYPE_CHECKING:
    from gitmachine.git.chain import HistoryEntry
    from gitmachine.git_machine import GitMachine

_name = click.argument("name", required=False)
_json = click.option("--json", "as_json", is_flag=True, help="Answer with JSON on standard output.")


@click.command("log")
@_name
@click.option("-n", "last", type=click.IntRange(min=1), default=50, show_default=True, help="The newest N.")
@click.option("-p", "--patch", is_flag=True, help="With what each entry changed.")
@_json
def log_command(name: str | None, last: int, patch: bool, as_json: bool) -> None:
    """List what was done in the session, by number. Needs no live machine."""
    do(_log(name, last, patch=patch, as_json=as_json), as_json=as_json)


@click.command("rewind")
@click.argument("number", type=int)
@_name
@_json
def rewind_command(number: int, name: str | None, as_json: bool) -> None:
    """Put the working tree back to what entry NUMBER of the log left; 0 is where the session began.

    Branches and ignored files stay as they are. A rewind is an entry of its own and can be undone.
    """
    do(_rewind(number, name, as_json=as_json), as_json=as_json)


@click.command("blame")
@click.argument("path")
@_name
@click.option("--at", type=int, metavar="NUMBER", help="As that entry of the log left the file.")
@_json
def blame_command(path: str, name: str | None, at: int | None, as_json: bool) -> None:
    """Show for each line of PATH the command that wrote it."""
    do(_blame(path, name, at, as_json=as_json), as_json=as_json)


@click.command("verify")
@_name
@_json
def verify_command(name: str | None, as_json: bool) -> None:
    """Read the session's whole history again: is anything altered or missing? Needs no live machine."""
    do(_verify(name, as_json=as_json), as_json=as_json)


@click.command("fork")
@click.argument("new_name")
@_name
@click.option("--at", type=int, metavar="NUMBER", help="The entry of the log to begin at. Default: this moment.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="NEW_NAME-1 and so on.")
@_json
def fork_command(new_name: str, name: str | None, at: int | None, count: int, as_json: bool) -> None:
    """Begin session NEW_NAME with the working tree of session NAME, what is not committed included."""
    do(_fork(new_name, name, at, count, as_json=as_json), as_json=as_json)


@click.command("compare")
@click.argument("names", nargs=-1, required=True)
@click.option("--check", metavar="COMMAND", help="Run this in each and tell how it ends.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="For the check.")
@_json
def compare_command(names: tuple[str, ...], check: str | None, timeout: float | None, as_json: bool) -> None:
    """Set sessions side by side: what changed in each since it was forked, and how a check ends."""
    do(_compare(names, check, timeout, as_json=as_json), as_json=as_json)


COMMANDS = (log_command, rewind_command, blame_command, verify_command, fork_command, compare_command)


async def _log(name: str | None, last: int, *, patch: bool, as_json: bool) -> None:
    from gitmachine.cli import finding
    from gitmachine.cli.screen import answer, answer_json
    from gitmachine.past import recorded_chain, recorded_patch

    record = (await finding.session(name)).record
    entries = [entry for entry in await (await recorded_chain(record)).entries(last) if entry.number]
    patches = [await recorded_patch(record, entry) if patch else "" for entry in entries]
    if as_json:
        rows = [entry.model_dump(mode="json") | {"sha": entry.sha} for entry in entries]
        answer_json([row | {"patch": text} if patch else row for row, text in zip(rows, patches, strict=True)])
        return
    for entry, text in zip(entries, patches, strict=True):
        answer(_line(entry))
        if text:
            answer(text)


def _line(entry: HistoryEntry) -> str:
    code = "-" if entry.exit_code is None else f"exit {entry.exit_code}"
    ending = "timed out" if entry.timed_out else code
    changed = f"{entry.changed} changed" if entry.changed else ""
    return f"{entry.number:>4}  {ending:<9} {entry.duration:>8.2f} s  {changed:<12} {_one_line(entry.command)}".rstrip()


def _one_line(text: str) -> str:
    from gitmachine.cli.screen import plain

    first, *rest = text.splitlines() or [""]
    return plain(first) + (" …" if rest else "")


async def _reopened(name: str | None) -> GitMachine:
    from gitmachine.cli import finding
    from gitmachine.cli.screen import QUIET_EVENTS, Screen
    from gitmachine.git_machine import GitMachine

    found = await finding.session(name)
    screen = Screen(hide=QUIET_EVENTS | {"rewound", "forked", "started"})
    return await GitMachine.reopen(found.record.id, on_event=screen.event)


async def _rewind(number: int, name: str | None, *, as_json: bool) -> None:
    from gitmachine.cli.doing import say
    from gitmachine.cli.screen import answer_json

    gm = await _reopened(name)
    try:
        done = await gm.rewind(number)
    finally:
        await gm.detach()
    if as_json:
        aside = {"aside": done.aside, "aside_path": done.aside_path}
        answer_json({"session": gm.session, "to": done.to, "number": done.entry.number, "left": done.left} | aside)
        return
    say(f"the working tree is as entry {done.to} left it: {done.entry.changed} files changed")
    for path in done.left:
        say(f"  left: {path} was ignored until now")
    for path in done.aside:
        say(f"  aside: {path} stood in the way and is now {done.aside_path}/{path} in the machine")
    say(f"`gitmachine rewind {done.entry.number - 1} {gm.session}` undoes it")


async def _blame(path: str, name: str | None, at: int | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from gitmachine.cli import finding
    from gitmachine.cli.screen import answer, answer_json, plain
    from gitmachine.past import recorded_blame

    found = await finding.session(name)
    if found.live:
        gm = await _reopened(found.record.id)
        try:
            lines = await gm.blame(path, at)
        finally:
            await gm.detach()
    else:
        lines = await recorded_blame(found.record, path, at)
    if as_json:
        answer_json([asdict(line) for line in lines])
        return
    for line in lines:
        by = "" if line.number is None else f"#{line.number} {_one_line(line.command or '')}"
        answer(f"{by[:40]:<40} {line.line:>5}  {plain(line.text)}")


async def _verify(name: str | None, *, as_json: bool) -> int:
    from gitmachine.cli import finding
    from gitmachine.cli.doing import say
    from gitmachine.cli.exits import Exit
    from gitmachine.cli.screen import answer_json
    from gitmachine.past import recorded_verification

    record = (await finding.session(name)).record
    found = await recorded_verification(record)
    if as_json:
        answer_json({"session": record.session, "entries": found.entries, "problems": found.problems, "ok": found.ok})
    else:
        say(f"{found.entries} entries of {record.session} are as they were written")
        for problem in found.problems:
            say(f"  {problem}")
    return 0 if found.ok else Exit.NOT_USABLE


async def _fork(new_name: str, name: str | None, at: int | None, count: int, *, as_json: bool) -> None:
    from gitmachine.cli.screen import answer, answer_json

    gm = await _reopened(name)
    try:
        made = await gm.forks(new_name, count, at)
        for fork in made:
            await fork.detach()
    finally:
        await gm.detach()
    if as_json:
        rows = [{"session": fork.session, "machine": fork.id, "state": str(fork.state)} for fork in made]
        answer_json({"session": gm.session, "forks": rows})
        return
    for fork in made:
        answer(fork.session)


async def _compare(names: tuple[str, ...], check: str | None, timeout: float | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from gitmachine.cli.screen import answer_json, table
    from gitmachine.forking import compare

    sessions = [await _reopened(name) for name in names]
    try:
        found = await compare(sessions, check, timeout=timeout)
    finally:
        for gm in sessions:
            await gm.detach()
    if as_json:
        answer_json([asdict(row) for row in found])
        return
    rows = [
        (
            row.session,
            "-" if row.exit_code is None else f"exit {row.exit_code} in {row.duration:.1f} s",
            str(row.files),
            f"+{row.insertions} -{row.deletions}",
        )
        for row in found
    ]
    table(rows, ("SESSION", "CHECK", "FILES", "LINES"))
