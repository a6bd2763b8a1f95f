"""`apply`, `merge`, `checkout` and `gc`: bringing work home, and tidying up after it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from gitmachine.cli.doing import do

if TYPE_CHECKING:
    from gitmachine.collecting import Done
    from gitmachine.homecoming import BroughtHome

_name = click.argument("name")
_json = click.option("--json", "as_json", is_flag=True, help="Answer with JSON on standard output.")
_into = click.option(
    "--into", metavar="PATH", default=".", help="The checkout to bring it into. Default: the one that you are in."
)
_allow = click.option("--allow", multiple=True, metavar="PATH", help="A path that the guard may let through.")
_abort = click.option("--abort", is_flag=True, help="After conflicts put the checkout back as it was.")
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h|d|w)", value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no duration: write 90s, 30min, 12h, 7d or 2w", ctx, param)
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


@click.command("apply")
@_name
@_into
@_allow
@_abort
@_json
def apply_command(name: str, into: str, allow: tuple[str, ...], abort: bool, as_json: bool) -> None:
    """Put all that session NAME has changed into your checkout, as changes that are not committed.

    Nothing of the session is run. Your checkout must have no changes of its own.
    """
    do(_bring("apply", name, into, allow, abort=abort, as_json=as_json), as_json=as_json)


@click.command("merge")
@_name
@_into
@_allow
@_abort
@_json
def merge_command(name: str, into: str, allow: tuple[str, ...], abort: bool, as_json: bool) -> None:
    """Merge the commits of session NAME into what you have checked out.

    Nothing of the session is run. Your checkout must have no changes of its own.
    """
    do(_bring("merge", name, into, allow, abort=abort, as_json=as_json), as_json=as_json)


@click.command("checkout")
@_name
@click.option("--as", "branch", metavar="BRANCH", help="The branch's name. Default: the session's.")
@_into
@_allow
@_json
def checkout_command(name: str, branch: str | None, into: str, allow: tuple[str, ...], as_json: bool) -> None:
    """Check out the commits of session NAME as a branch in your checkout.

    A branch that is there moves forward only. Nothing of the session is run.
    """
    do(_bring("checkout", name, into, allow, branch=branch, as_json=as_json), as_json=as_json)


async def _bring(
    verb: str,
    name: str,
    into: str,
    allow: tuple[str, ...],
    *,
    as_json: bool,
    abort: bool = False,
    branch: str | None = None,
) -> int | None:
    from pathlib import Path

    from gitmachine import homecoming
    from gitmachine.cli.exits import Exit
    from gitmachine.cli.screen import answer_json

    options = homecoming.Options(allow=allow, restore=abort)
    directory = Path(into)
    if verb == "checkout":
        brought = await homecoming.checkout(directory, name, options, branch=branch)
    else:
        brought = await (homecoming.apply if verb == "apply" else homecoming.merge)(directory, name, options)
    if as_json:
        answer_json(_as_data(brought))
    else:
        _show(verb, brought)
    return Exit.REFUSED if brought.conflicts else None


def _as_data(brought: BroughtHome) -> dict[str, Any]:
    return {
        "session": brought.session,
        "directory": str(brought.directory),
        "head": brought.head,
        "changed": [_shown(path) for path in brought.changed],
        "conflicts": [_shown(path) for path in brought.conflicts],
        "restored": brought.restored,
        "withheld": [{"path": _shown(item.path), "reason": item.reason} for item in brought.withheld],
        "look_first": [{"path": _shown(item.path), "reason": item.reason} for item in brought.look_first],
        "left_behind": [_shown(path) for path in brought.left_behind],
    }


def _show(verb: str, brought: BroughtHome) -> None:
    from gitmachine.cli.doing import say
    from gitmachine.cli.screen import answer

    if not brought.restored:
        for path in brought.changed:
            answer(f"  {_shown(path)}")
    for item in brought.withheld:
        say(f"kept out: {_shown(item.path)} ({item.reason}); --allow lets it through")
    if brought.look_first and not brought.restored:
        say("look at these before you run, build or open anything:")
        for caution in brought.look_first:
            say(f"  {_shown(caution.path)}: {caution.reason}")
    if brought.left_behind:
        count = len(brought.left_behind)
        say(f"{count} paths with changes that session {brought.session} has not committed stayed there: ")
        say(f"  `gitmachine commit {brought.session}` first, or `gitmachine apply {brought.session}` after this")
    if brought.conflicts:
        undo = "git merge --abort" if verb == "merge" else "git reset --merge"
        end = "the checkout is as it was" if brought.restored else f"resolve them, or undo with `{undo}`"
        say(f"conflicts in {', '.join(_shown(path) for path in brought.conflicts)}; {end}")
    elif not brought.changed:
        say("there is nothing new")


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


@click.command("gc")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--older-than",
    metavar="DURATION",
    callback=_duration,
    help="What nobody has used for so long (90s, 12h, 7d), in place of 7 days for machines and spares, 30 for output.",
)
@click.option(
    "--machine",
    type=click.Choice(["local", "e2b"]),
    default="local",
    show_default=True,
    help="Where to look: on this host, or for what this host has made at E2B.",
)
@_json
def gc_command(dry_run: bool, older_than: timedelta | None, machine: str, as_json: bool) -> None:
    """Remove what nobody holds any more: dead machines, old spares, what killed processes left.

    The work in a machine is in the vault before the machine goes; what cannot be made safe is kept.
    """
    do(_gc(older_than, machine, dry_run=dry_run, as_json=as_json), as_json=as_json)


async def _gc(older_than: timedelta | None, machine: str, *, dry_run: bool, as_json: bool) -> int | None:
    from gitmachine import collecting, settings, sweeping
    from gitmachine.cli.exits import Exit
    from gitmachine.cli.screen import answer_json
    from gitmachine.collecting import Act, Done

    where = settings.load()
    keeper = collecting if machine == "local" else sweeping
    plan = await keeper.examine(where, older_than)
    results = [Done(item, False) for item in plan] if dry_run else [done async for done in keeper.collect(where, plan)]
    if as_json:
        answer_json([_done_as_data(done) for done in results])
    else:
        _show_collected(results, dry_run=dry_run)
    failed = [done for done in results if not done.done and done.finding.act is not Act.KEEP]
    return Exit.NOT_SAFE if failed and not dry_run else None


def _done_as_data(done: Done) -> dict[str, Any]:
    finding = done.finding
    return {
        "kind": finding.kind,
        "path": str(finding.path),
        "why": finding.why,
        "act": finding.act.name.lower(),
        "frees_bytes": finding.frees_bytes,
        "done": done.done,
        "said": done.said,
    }


def _show_collected(results: list[Done], *, dry_run: bool) -> None:
    from gitmachine.cli.doing import say
    from gitmachine.cli.screen import answer

    for done in results:
        finding = done.finding
        begun = "" if dry_run else "done: " if done.done else "not done: "
        size = f", {_size(finding.frees_bytes)}" if finding.frees_bytes else ""
        said = f" ({done.said})" if done.said else ""
        answer(f"{begun}{finding.act}: {finding.kind} {finding.name}: {finding.why}{size}{said}")
    freed = sum(done.finding.frees_bytes for done in results if dry_run or done.done)
    say(f"{_size(freed)} {'would be' if dry_run else 'were'} freed" if results else "there is nothing to collect")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


COMMANDS = (apply_command, merge_command, checkout_command, gc_command)
