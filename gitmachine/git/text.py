"""Git as pure functions: configuration, environment and formats out, parsed answers in. No input or output."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
NO_OBJECT = "0" * 40
GITLINK_MODE = "160000"

_SCRIPTS = Path(__file__).with_name("scripts")

# What every git that we start in a machine is told, over whatever the repository's own configuration says.
# Command scope wins over files (git-config(1), "SCOPES").
MACHINE_CONFIG: tuple[tuple[str, str], ...] = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.excludesFile", "/dev/null"),
    ("core.attributesFile", "/dev/null"),
    ("core.untrackedCache", "true"),
    ("core.looseCompression", "1"),
    ("core.quotePath", "true"),
    ("core.pager", "cat"),
    ("checkout.workers", "0"),
    ("advice.addEmbeddedRepo", "false"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("pack.compression", "1"),
    ("safe.directory", "*"),
)


@functools.cache
def script(name: str) -> str:
    """One of the shell scripts that run in a machine, without its comments. Values reach it in its environment only.

    Some providers are sent it with each command.
    """
    lines = (_SCRIPTS / f"{name}.sh").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("#"))


def config_environment(config: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Configuration as environment variables (git-config(1), GIT_CONFIG_COUNT): on no command line, in no file."""
    pairs = list(config)
    environment = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, value) in enumerate(pairs):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def machine_environment() -> dict[str, str]:
    """The environment of every git that we start in a machine."""
    return {
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        **config_environment(MACHINE_CONFIG),
    }


def config_file(sections: Mapping[str, Mapping[str, str]]) -> str:
    """The text of a configuration file. Keys of `sections` are `core` or `remote.origin`; values are quoted."""
    lines: list[str] = []
    for section, values in sections.items():
        name, _, subsection = section.partition(".")
        lines.append(f'[{name} "{_escaped(subsection)}"]' if subsection else f"[{name}]")
        lines += [f'\t{key} = "{_escaped(value)}"' for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")


def packed_refs(refs: Mapping[str, str]) -> str:
    """The text of a packed-refs file (gitrepository-layout(5))."""
    return "".join(f"{sha} {name}\n" for name, sha in sorted(refs.items()))


@dataclass(frozen=True, slots=True)
class Gitlink:
    """A place in a tree that names a commit of another repository."""

    path: bytes
    sha: str


def new_gitlinks(raw_difference: bytes) -> list[Gitlink]:
    """The gitlinks that `git diff-tree -r -z --raw` shows as new or changed."""
    fields = raw_difference.split(b"\0")
    links = []
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        _old_mode, new_mode, _old_sha, new_sha, _status = head.lstrip(b":").split(b" ")
        if new_mode == GITLINK_MODE.encode():
            links.append(Gitlink(path, new_sha.decode()))
    return links


def listed_gitlinks(listing: bytes) -> list[Gitlink]:
    """The gitlinks in what `git ls-tree -r -z` prints."""
    links = []
    for line in filter(None, listing.split(b"\0")):
        head, _, path = line.partition(b"\t")
        mode, _kind, sha = head.split(b" ")
        if mode == GITLINK_MODE.encode():
            links.append(Gitlink(path, sha.decode()))
    return links


def unborn_repositories(trouble: str) -> list[bytes]:
    """The repositories without a commit that `git add` complained of; it leaves their files out."""
    mark = "' does not have a commit checked out"
    return [
        line.removeprefix("error: '").removesuffix(mark).rstrip("/").encode("utf-8", "surrogateescape")
        for line in dict.fromkeys(trouble.splitlines())
        if line.startswith("error: '") and line.endswith(mark)
    ]


def other_trouble(trouble: str) -> str:
    """What is left of git's complaints when repositories without a commit are taken care of."""
    about = tuple(f"'{os.fsdecode(path)}" for path in unborn_repositories(trouble))
    lines = trouble.splitlines() if about else []
    return "\n".join(line for line in lines if not line.removeprefix("error: ").startswith(about)) if about else trouble


def index_info(entries: Sequence[tuple[bytes, str, str]]) -> bytes:
    """Input for `git update-index -z --index-info`, from (path, mode, object); mode "000000" removes."""
    return b"".join(
        f"{mode} {NO_OBJECT if mode == '000000' else sha}\t".encode() + path + b"\0" for path, mode, sha in entries
    )


def skip_worktree_paths(listing: bytes) -> list[bytes]:
    """The paths that `git ls-files -t -z` marks as left out of the working tree by sparse checkout."""
    return [line[2:] for line in listing.split(b"\0") if line.startswith(b"S ")]
