"""git's answers, taken apart. Pure: bytes in, values out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gitmachine.errors import ConfigurationError
from gitmachine.types import GitIdentity

SHA = re.compile(r"[0-9a-f]{40}")
NO_SHA = "0" * 40


@dataclass(frozen=True, slots=True)
class RemoteState:
    """What a remote had when it was last asked."""

    heads: Mapping[str, str] = field(default_factory=dict)
    """Commit by branch, without `refs/heads/`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Object by tag, without `refs/tags/`. An annotated tag's object is the tag."""
    default_branch: str | None = None
    """None when the repository is empty, or its HEAD names no branch that exists."""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two trees."""

    path: bytes
    old_mode: str
    new_mode: str
    """Six octal digits, `000000` when the path is not there; `160000` is a submodule, `120000` a link."""
    old_sha: str
    new_sha: str
    status: str
    """A added, D deleted, M changed, T changed in kind."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit object: its name, and the bytes that give that name anywhere."""

    sha: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class PushReport:
    """What the remote said about one ref (git-push(1), --porcelain)."""

    flag: str
    ref: str
    summary: str

    @property
    def accepted(self) -> bool:
        """The remote has what was sent, now or already."""
        return self.flag in (" ", "+", "*", "=")


def remote_state(answer: bytes) -> RemoteState:
    """The answer of `git ls-remote --symref`."""
    target: str | None = None
    refs: dict[str, str] = {}
    for line in answer.decode("utf-8", "surrogateescape").splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            target = value.removeprefix("ref: ") if name == "HEAD" else target
        elif SHA.fullmatch(value):
            refs[name] = value
    heads = below(refs, "refs/heads/")
    default = (target or "").removeprefix("refs/heads/") or None
    if target is None and "HEAD" in refs:
        # A detached HEAD names a branch when exactly one stands there.
        here = [name for name, sha in heads.items() if sha == refs["HEAD"]]
        default = here[0] if len(here) == 1 else None
    tags = {name: sha for name, sha in below(refs, "refs/tags/").items() if not name.endswith("^{}")}
    return RemoteState(heads, tags, default if default in heads else None)


def refs_of(answer: bytes) -> dict[str, str]:
    """Object by full name, from `for-each-ref --format=%(objectname) %(refname)`."""
    lines = answer.decode("utf-8", "surrogateescape").splitlines()
    return {name: sha for sha, _, name in (line.partition(" ") for line in lines)}


def below(refs: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The refs below a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): sha for name, sha in refs.items() if name.startswith(prefix)}


def changes_of(answer: bytes) -> list[Change]:
    """The answer of `diff-tree -r -z --raw --no-renames` (git-diff-tree(1), raw output format)."""
    fields = answer.split(b"\0")
    changes = []
    for head, path in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, new_mode, old_sha, new_sha, status = head.decode().removeprefix(":").split(" ")
        changes.append(Change(path, old_mode, new_mode, old_sha, new_sha, status))
    return changes


def combined_changes_of(answer: bytes) -> list[Change]:
    """The answer of `diff-tree --stdin -c -r -z --raw`: of a merge the first parent's side and the result."""
    fields = answer.split(b"\0")
    changes = []
    for head, path in zip(fields[0::2], fields[1::2], strict=False):
        text = head.decode()
        parents = len(text) - len(text.lstrip(":"))
        words = text[parents:].split(" ")
        modes, shas = words[: parents + 1], words[parents + 1 : 2 * parents + 2]
        status = "D" if shas[-1] == NO_SHA else words[-1][0]
        changes.append(Change(path, modes[0], modes[-1], shas[0], shas[-1], status))
    return changes


def kinds_of(answer: bytes) -> dict[str, str | None]:
    """Type by object, None for a missing one, from `cat-file --batch-check`."""
    kinds: dict[str, str | None] = {}
    for line in answer.decode().splitlines():
        sha, _, rest = line.partition(" ")
        kinds[sha] = None if rest == "missing" else rest.split(" ")[0]
    return kinds


def push_reports(answer: bytes) -> list[PushReport]:
    """The refs in the answer of `git push --porcelain`."""
    reports = []
    for line in answer.decode("utf-8", "replace").splitlines():
        parts = line.split("\t")
        if len(parts) == 3 and len(parts[0]) == 1:
            reports.append(PushReport(parts[0], parts[1].rpartition(":")[2], parts[2]))
    return reports


def remote_words(stderr: str) -> str:
    """What the remote wrote for its user: the `remote:` lines."""
    lines = (line.removeprefix("remote:").strip() for line in stderr.splitlines() if line.startswith("remote:"))
    return "\n".join(line for line in lines if line)


def without_remote_words(stderr: str) -> str:
    """What git itself wrote: the other lines."""
    return "\n".join(line for line in stderr.splitlines() if not line.startswith("remote:"))


def compose_commit(tree: str, parents: Sequence[str], identity: GitIdentity, message: str, when: datetime) -> bytes:
    """The bytes of a commit object, such that the same input gives the same commit anywhere.

    The message ends in exactly one line end. Raises: ConfigurationError for what git cannot store: a NUL in
    the message, an identity without a name, a time without zone.
    """
    if "\0" in message:
        raise ConfigurationError("a commit message cannot contain a NUL character")
    offset = when.utcoffset()
    if offset is None:
        raise ConfigurationError("the time of a commit needs a time zone")
    minutes = int(offset.total_seconds()) // 60
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
    person = f"{_crudless(identity.name, 'name')} <{_crudless(identity.email, 'email')}>"
    stamp = f"{person} {int(when.timestamp())} {zone}"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {stamp}", f"committer {stamp}", "", message.rstrip() + "\n"]
    return "\n".join(lines).encode("utf-8", "replace")


def _crudless(text: str, what: str) -> str:
    """As git's ident.c does it: no control characters and angle brackets, no punctuation at the ends."""
    kept = re.sub(r"[\x00-\x1f<>]", "", text).strip(" .,:;\"\\'")
    if not kept:
        raise ConfigurationError(f"the identity's {what} {text!r} has nothing in it that git can store")
    return kept
