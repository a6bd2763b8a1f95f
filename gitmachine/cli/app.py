"""The commands, their options and their help."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from gitmachine.cli.doing import do
from gitmachine.cli.exits import described
from gitmachine.cli.history import COMMANDS as HISTORY_COMMANDS
from gitmachine.cli.home import COMMANDS as HOME_COMMANDS
from gitmachine.cli.live import COMMANDS as LIVE_COMMANDS
from gitmachine.cli.page import COMMANDS as PAGE_COMMANDS
from gitmachine.errors import ConfigurationError
from gitmachine.project.words import WORDS

if TYPE_CHECKING:  # what takes time to load is loaded by the command that needs it: `--help` does without
    from gitmachine.cli.entry import Entry
    from gitmachine.project.consent import Consent

_EPILOG = f"""\b
A command's own exit code is passed through. Otherwise:
{described()}

\b
Tokens come from the environment only: GITMACHINE_TOKEN, for github.com also
GH_TOKEN and GITHUB_TOKEN; without one, this host's own git credentials are used.
State is kept in GITMACHINE_HOME.
"""


def _version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    """Says the version, and looks it up only then: that reads the metadata of what is installed."""
    if not asked or ctx.resilient_parsing:
        return
    from importlib import metadata

    try:
        version = metadata.version("gitmachine-sdk")
    except metadata.PackageNotFoundError:
        version = "from a source tree"
    click.echo(f"gitmachine, version {version}")
    ctx.exit()


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """A sandboxed machine with a git repository in it: every session is a branch, nothing is lost."""
    del debug  # read by whoever shows an error


def _variables(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE, or NAME alone for the value it has here, so that a secret need not be typed."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals and name not in os.environ:
            raise click.BadParameter(f"{name} is not set here: give {name}=VALUE", ctx, param)
        found[name] = value if equals else os.environ[name]
    return found


_POLICIES = {"none", "bridge", "host"}


def _network(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> str | tuple[str, ...] | None:
    """A policy by name, or the allowed hosts."""
    parts = tuple(part.strip() for word in words for part in word.split(",") if part.strip())
    if len(parts) <= 1 and not _POLICIES.isdisjoint(parts):
        return parts[0]
    if not _POLICIES.isdisjoint(parts):
        raise click.BadParameter("none, bridge and host stand alone: give one of them, or hosts", ctx, param)
    from gitmachine.network.policy import AllowList

    try:
        return AllowList.parse(parts).entries or None
    except ConfigurationError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _consent(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> Consent:
    from gitmachine.project.consent import Consent

    try:
        return Consent.of((part for word in words for part in word.split(",") if part), os.environ)
    except ConfigurationError as error:
        raise click.BadParameter(str(error), ctx, param) from None


name_argument = click.argument("name", required=False)
json_option = click.option("--json", "as_json", is_flag=True, help="Answer with JSON on standard output.")
machine_option = click.option("--machine", metavar="KIND", help="local, docker, e2b, or module:Class of your own.")
message_option = click.option("-m", "--message", help="Message of the commit that keeps the work.")
no_push_option = click.option("--no-push", is_flag=True, help="Leave the work in the vault.")


def entry_options(command: Any) -> Any:
    """Where to work: the options that `run` and `start` share."""
    for option in reversed(
        (
            click.option("--repo", metavar="URL|PATH", help="Default: the checkout that this directory is in."),
            click.option("--session", metavar="NAME", help="The branch; a live session of that name is reused."),
            click.option("--base", metavar="REF", help="Where a new session starts. Default: the default branch."),
            click.option(
                "--machine", type=click.Choice(["local", "docker", "e2b"]), default="local", show_default=True
            ),
            click.option("--image", metavar="IMAGE", help="Of the container, with --machine docker."),
            click.option(
                "--network",
                metavar="none|bridge|host|HOST[,HOST…]",
                multiple=True,
                callback=_network,
                help="Default: none; on e2b, E2B's. bridge: docker only. Hosts as pypi.org, *.example.org, host:8443.",
            ),
            click.option(
                "--allow",
                metavar="WORD",
                multiple=True,
                envvar="GITMACHINE_ALLOW",
                callback=_consent,
                help="What the repository's gitmachine.toml may have: " + ", ".join(WORDS) + ". May be repeated.",
            ),
            click.option(
                "--env",
                metavar="NAME[=VALUE]",
                multiple=True,
                callback=_variables,
                help="For every command; may be repeated. NAME alone takes the value it has here.",
            ),
        )
    ):
        command = option(command)
    return command


def _entry(options: dict[str, Any]) -> Entry:
    from gitmachine.cli.entry import Entry

    return Entry(
        repo=options["repo"],
        session=options["session"],
        base=options["base"],
        machine=options["machine"],
        image=options["image"],
        network=options["network"],
        consent=options["allow"],
        env=options["env"],
    )


@cli.command("run", context_settings={"ignore_unknown_options": False})
@entry_options
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="For the command.")
@message_option
@click.option("--keep", is_flag=True, help="Leave the session live afterwards.")
@no_push_option
@json_option
@click.argument("command", nargs=-1, required=True)
def run_command(**options: Any) -> None:
    """Run COMMAND in a session and pass on its output and exit code.

    Without a live session of that name one is started and, after the command, committed, pushed and ended; a live
    one is left as it was found. One word of COMMAND is a line for the shell, several are a program and its
    arguments: put `--` before them.

    The checkout that you are in is itself the repository: the session sees what is committed there, not what is
    only edited, and its branch is pushed into it.

    Ctrl-C stops the command with all that it started and keeps the work: the session waits, paused.
    """
    from gitmachine.cli.run import Request, run

    request = Request(
        entry=_entry(options),
        words=options["command"],
        timeout=options["timeout"],
        message=options["message"],
        keep=options["keep"],
        push=not options["no_push"],
        as_json=options["as_json"],
    )
    do(run(request), as_json=request.as_json)


@cli.command("start")
@entry_options
@json_option
def start_command(as_json: bool, **options: Any) -> None:
    """Start a session and leave it live; its name is the answer."""
    from gitmachine.cli.lifecycle import start

    do(start(_entry(options), as_json=as_json), as_json=as_json)


@cli.command("pause")
@name_argument
@json_option
def pause_command(name: str | None, as_json: bool) -> None:
    """Commit, then freeze the machine with its memory."""
    from gitmachine.cli.lifecycle import pause

    do(pause(name, as_json=as_json), as_json=as_json)


@cli.command("resume")
@machine_option
@click.option("--no-replay", is_flag=True, help="Do not run again what the session's first start ran.")
@name_argument
@json_option
def resume_command(name: str | None, machine: str | None, no_replay: bool, as_json: bool) -> None:
    """Go on with a session: thaw its machine, or bring its work up on a new one and say what could not be.

    With --machine the new one is of another kind than the one that has ended.
    """
    from gitmachine.cli.lifecycle import resume

    do(resume(name, machine, replay=not no_replay, as_json=as_json), as_json=as_json)


@cli.command("stop")
@name_argument
@message_option
@no_push_option
@json_option
def stop_command(name: str | None, message: str | None, no_push: bool, as_json: bool) -> None:
    """Commit, push and end the machine. It ends only when the work is safe."""
    from gitmachine.cli.lifecycle import stop

    do(stop(name, message, push=not no_push, as_json=as_json), as_json=as_json)


@cli.command("commit")
@name_argument
@message_option
@click.option("--path", "paths", multiple=True, help="Commit only this path; may be repeated.")
@json_option
def commit_command(name: str | None, message: str | None, paths: tuple[str, ...], as_json: bool) -> None:
    """Put all changes on the session branch."""
    from gitmachine.cli.publishing import commit

    do(commit(name, message, paths, as_json=as_json), as_json=as_json)


@cli.command("push")
@name_argument
@click.option("--allow", multiple=True, metavar="PATH", help="A path that the guard may let through.")
@json_option
def push_command(name: str | None, allow: tuple[str, ...], as_json: bool) -> None:
    """Publish the session branch as far as it is committed."""
    from gitmachine.cli.publishing import push

    do(push(name, allow, as_json=as_json), as_json=as_json)


@cli.command("pull")
@name_argument
@json_option
def pull_command(name: str | None, as_json: bool) -> None:
    """Merge the remote's session branch into the checkout."""
    from gitmachine.cli.publishing import pull

    do(pull(name, as_json=as_json), as_json=as_json)


@cli.command("ls")
@click.option("-a", "--all", "everything", is_flag=True, help="Ended sessions, too.")
@json_option
def ls_command(everything: bool, as_json: bool) -> None:
    """List sessions, with the state that their machines really have."""
    from gitmachine.cli.looking import ls

    do(ls(everything=everything, as_json=as_json), as_json=as_json)


@cli.command("status")
@name_argument
@json_option
def status_command(name: str | None, as_json: bool) -> None:
    """Show branch, commit, changed files and what is not pushed."""
    from gitmachine.cli.looking import status

    do(status(name, as_json=as_json), as_json=as_json)


@cli.command("diff")
@name_argument
@click.option(
    "--base",
    default="HEAD",
    show_default=True,
    help='HEAD, "session" (where it began), #3 (an entry of the log), a commit.',
)
@click.option("--to", help="The same for what is compared with it. Default: the working tree.")
@click.option("--path", "paths", multiple=True, help="Only this path; may be repeated.")
@click.option("--stat", is_flag=True, help="A summary in place of the patch.")
@json_option
def diff_command(
    name: str | None, base: str, to: str | None, paths: tuple[str, ...], stat: bool, as_json: bool
) -> None:
    """Show the working tree's changes, untracked files included."""
    from gitmachine.cli.looking import diff

    do(diff(name, base, paths, to=to, stat=stat, as_json=as_json), as_json=as_json)


@cli.command("events")
@name_argument
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only events with a greater number.")
@click.option("-f", "--follow", is_flag=True, help="Wait for more, until the session is stopped.")
@json_option
def events_command(name: str | None, after: int, follow: bool, as_json: bool) -> None:
    """Show what has happened in a session; with --json a line of JSON for each event."""
    from gitmachine.cli.looking import events

    do(events(name, after, follow=follow, as_json=as_json), as_json=as_json)


@cli.command("doctor")
@json_option
def doctor_command(as_json: bool) -> None:
    """Say what works on this host, and how to mend what does not."""
    from gitmachine.cli.looking import doctor

    do(doctor(as_json=as_json), as_json=as_json)


@cli.command("demo")
def demo_command() -> None:
    """Show a session from start to stop, on a repository of its own, in under a minute."""
    from gitmachine.cli.demo import demo

    do(demo())


for command in (*HISTORY_COMMANDS, *HOME_COMMANDS, *LIVE_COMMANDS, *PAGE_COMMANDS):
    cli.add_command(command)
