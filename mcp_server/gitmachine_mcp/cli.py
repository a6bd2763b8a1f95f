"""The command `gitmachine-mcp`. Every option can be given in the environment, too: GITMACHINE_MCP_<OPTION>."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gitmachine.errors import ConfigurationError, GitMachineError, MissingExtra
from gitmachine.network.policy import AllowList
from gitmachine.project.consent import Consent
from gitmachine.project.words import WORDS
from gitmachine_mcp import INSTALL
from gitmachine_mcp.options import Options

_EX_USAGE, _EX_CONFIG = 64, 78  # sysexits.h
_PREFIX = "GITMACHINE_MCP_"
_EPILOG = """\
With no options it serves one client on standard input and output. `gitmachine-mcp doctor` says what works on this
host. Credentials for repositories come from the environment only: GITMACHINE_TOKEN, for github.com also GH_TOKEN and
GITHUB_TOKEN; without one this host's own git credentials are used. Tokens of HTTP callers come from --token-file or
GITMACHINE_MCP_TOKEN. State is kept in GITMACHINE_HOME. Every option --some-name can be given as
GITMACHINE_MCP_SOME_NAME, too; a list there is separated by commas."""


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The options, with their defaults as the environment has them."""
    made = argparse.ArgumentParser(
        prog="gitmachine-mcp",
        description="Sandboxed, branch-per-session git workspaces for every MCP client.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(flag: str, **settings: Any) -> None:
        name = _PREFIX + flag.removeprefix("--").replace("-", "_").upper()
        value = environment.get(name)
        if settings.get("action") == "store_true":
            settings["default"] = value is not None and value.lower() not in ("", "0", "false", "no")
        elif settings.get("action") == "append":
            settings["default"] = [part.strip() for part in (value or "").split(",") if part.strip()]
        elif value:
            settings["default"] = value
        made.add_argument(flag, **settings)

    made.add_argument("command", nargs="?", choices=["serve", "doctor"], default="serve", help=argparse.SUPPRESS)
    made.add_argument("--version", action="version", version=_version())
    add("--repo", metavar="URL|PATH", help="preset repository: the first `run` starts a session on it")
    add("--branch", metavar="NAME", help="the branch of that session; default: a new one")
    add("--base", metavar="REF", help="where a new branch starts; default: the default branch")
    add("--machine", choices=["local", "docker", "e2b"], default="local", help="default: %(default)s")
    add("--image", metavar="IMAGE", help="of the containers, with --machine docker")
    add(
        "--network",
        action="append",
        metavar="none|bridge|host|HOST",
        help="of machines: a policy, or allowed hosts",
    )
    add("--allow", action="append", metavar="WORD", help=f"what gitmachine.toml may have: {', '.join(WORDS)}")
    add("--allow-repo", action="append", metavar="PATTERN", help="only these addresses (* matches); may be repeated")
    add("--protect", action="append", metavar="PATTERN", help="branches pushed to with consent; default: main, master")
    add("--read-only", action="store_true", help="only the tools that look")
    add("--max-sessions", type=_positive, default=8, metavar="N", help="of one caller; default: %(default)s")
    add("--session-ttl", type=_positive, default=3600, metavar="S", help="idle until asleep; default: %(default)s")
    add("--run-wait", type=_positive, default=45, metavar="S", help="longest wait of run; default: %(default)s")
    add("--run-timeout", type=_positive, default=3600, metavar="S", help="longest run; default: %(default)s")
    add("--http", action="store_true", help="serve many clients over streamable HTTP")
    add("--host", default="127.0.0.1", help="for --http; default: %(default)s")
    add("--port", type=int, default=8765, help="for --http, 0 for any that is free; default: %(default)s")
    add("--token-file", metavar="FILE", help="for --http: one line a caller, `name:token`")
    add("--allowed-host", action="append", metavar="HOST", help="for --http: further values of the Host header")
    add("--allowed-origin", action="append", metavar="URL", help="for --http: further values of the Origin header")
    add("--insecure-no-auth", action="store_true", help="for --http on the loopback: let every local program in")
    add("--log-level", choices=["debug", "info", "warning", "error"], default="warning", help="on standard error")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Ends with 64 for a wrong option, 78 when the extra is missing, 1 when `doctor` finds something."""
    chosen = parser(os.environ).parse_args(arguments)
    # A model that reads what is wrong with its arguments has no use for an address, and might go there.
    os.environ.setdefault("PYDANTIC_ERRORS_INCLUDE_URL", "0")
    logging.basicConfig(stream=sys.stderr, level=chosen.log_level.upper(), format="%(name)s: %(message)s")
    try:
        if chosen.command == "doctor":
            sys.exit(asyncio.run(_doctor()))
        _require_sdk()
        _serve(chosen)
    except MissingExtra as error:
        _leave(error, _EX_CONFIG)
    except GitMachineError as error:
        _leave(error, _EX_USAGE)
    except KeyboardInterrupt:
        sys.exit(130)


def _serve(chosen: argparse.Namespace) -> None:
    options = Options(
        repo=_repository(chosen.repo),
        branch=chosen.branch,
        base=chosen.base,
        machine=chosen.machine,
        image=chosen.image,
        network=_network(chosen.network),
        consent=Consent.of(chosen.allow, os.environ),
        allow_repos=tuple(chosen.allow_repo),
        protect=tuple(chosen.protect) or Options().protect,
        read_only=chosen.read_only,
        max_sessions=int(chosen.max_sessions),
        session_ttl_s=chosen.session_ttl,
        run_wait_s=chosen.run_wait,
        run_timeout_s=chosen.run_timeout,
    )
    if not chosen.http:
        from gitmachine_mcp import stdio

        stdio.run(options)
        return
    from gitmachine_mcp import http

    listening = http.Listening(
        host=chosen.host,
        port=chosen.port,
        tokens=_tokens(chosen),
        allowed_hosts=tuple(chosen.allowed_host),
        allowed_origins=tuple(chosen.allowed_origin),
    )
    http.run(options, listening)


def _network(words: Sequence[str]) -> str | tuple[str, ...] | None:
    parts = tuple(part.strip() for word in words for part in word.split(",") if part.strip())
    if not {"none", "bridge", "host"}.isdisjoint(parts):
        if len(parts) > 1:
            raise ConfigurationError("--network none, bridge and host stand alone: give one of them, or hosts")
        return None if parts == ("none",) else parts[0]
    return AllowList.parse(parts).entries or None


def _tokens(chosen: argparse.Namespace) -> Any:
    from gitmachine_mcp.tokens import Tokens

    if chosen.token_file:
        return Tokens.load(Path(chosen.token_file))
    if token := os.environ.get(f"{_PREFIX}TOKEN"):
        return Tokens(token)
    if chosen.insecure_no_auth:
        return None
    raise ConfigurationError(
        "--http needs a token: GITMACHINE_MCP_TOKEN, or --token-file with `name:token` lines; "
        "`python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes one"
    )


def _repository(repo: str | None) -> str | None:
    """A relative path means what it means here, also for sessions that are taken up elsewhere."""
    if repo is None:
        return None
    Options(repo=repo).check_repository(repo)
    return str(Path(repo).absolute()) if "://" not in repo and Path(repo).exists() else repo


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _require_sdk() -> None:
    try:
        import mcp.server.mcpserver  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"gitmachine-mcp needs the mcp SDK: {INSTALL}") from error


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("gitmachine-sdk")
    except metadata.PackageNotFoundError:
        return "from a source tree"


async def _doctor() -> int:
    from gitmachine.doctor import examine

    checks = await examine()
    write: Callable[[str], object] = sys.stdout.write
    for check in checks:
        write(f"{'ok  ' if check.ok else 'FAIL' if check.needed else '--  '} {check.name}: {check.detail}\n")
        if check.remedy and not check.ok:
            write(f"       {check.remedy}\n")
    try:
        _require_sdk()
        write("ok   MCP SDK: installed\n")
    except MissingExtra as error:
        write(f"FAIL MCP SDK: {error}\n")
        return 1
    return 0 if all(check.ok for check in checks if check.needed) else 1


def _leave(error: Exception, code: int) -> None:
    sys.stderr.write(f"gitmachine-mcp: {error}\n")
    sys.exit(code)
