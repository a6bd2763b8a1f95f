"""A person's own checkout, into which a session's work is brought without running anything of it.

The repository and its configuration are trusted, what arrives is not: no hook, no fsmonitor, no filter and no
merge driver runs, since attributes in the content decide for which files they would; no submodule is entered;
objects come by a fetch that checks each of them (git-fsck(1): `.git` in disguise, links that git follows).
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from gitmachine import settings
from gitmachine.errors import ConfigurationError, GitError, MergeBlocked
from gitmachine.git.host import Completed, HostGit
from gitmachine.git.parse import Change, changes_of
from gitmachine.types import GitIdentity

_UNFINISHED = {
    "MERGE_HEAD": "a merge", "CHERRY_PICK_HEAD": "a cherry-pick", "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase", "rebase-apply": "a rebase",
}  # fmt: skip
_PERSONAL = r"^(user\.(name|email)|core\.(autocrlf|eol)|safe\.directory)$"
"""What of the user's own configuration has a say: the rest could start programs."""
_IN_THE_WAY = ("would be overwritten", "Updating the following directories would lose untracked files")
_MANY = 20
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came to."""

    head: str | None
    """HEAD afterwards."""
    conflicts: tuple[bytes, ...] = ()
    """Paths that git left with conflicts."""


@dataclass(frozen=True, slots=True)
class UserCheckout:
    """Made by `open`."""

    top: Path
    git_dir: Path
    _options: tuple[str, ...]
    _git: HostGit

    @classmethod
    async def open(cls, directory: Path) -> Self:
        """The checkout that a directory is in. Raises ConfigurationError."""
        git = HostGit()
        personal = await _personal(git)
        where = await asyncio.to_thread(os.path.abspath, directory)
        asked = await git.run(
            *personal, "-C", where, "rev-parse", "--show-toplevel", "--absolute-git-dir",
            git_dir=None, check=False,
        )  # fmt: skip
        if asked.exit_code != 0:
            reason = asked.stderr.strip().removeprefix("fatal: ")
            raise ConfigurationError(f"{directory} is no git checkout that can be used: {reason}")
        top, git_dir = (Path(line) for line in asked.lines())
        return cls(
            top, git_dir, (*await _behind_own(git, git_dir, personal), *await _without_programs(git, git_dir)), git
        )

    async def head(self) -> str | None:
        """The commit that is checked out; None before the first."""
        answer = await self._run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False)
        return answer.text if answer.exit_code == 0 else None

    async def current_branch(self) -> str | None:
        """None when HEAD is detached."""
        answer = await self._run("symbolic-ref", "--quiet", "--short", "HEAD", check=False)
        return answer.text if answer.exit_code == 0 else None

    async def branch(self, name: str) -> str | None:
        """The commit of a local branch, if there is such a branch."""
        answer = await self._run("rev-parse", "--verify", "--quiet", f"refs/heads/{name}^{{commit}}", check=False)
        return answer.text if answer.exit_code == 0 else None

    async def require_clean(self) -> None:
        """Raises MergeBlocked when tracked files have changes, or something like a merge has begun."""
        for name, what in _UNFINISHED.items():
            if await asyncio.to_thread((self.git_dir / name).exists):
                raise MergeBlocked(f"{self.top}: {what} is not finished; finish or abort it first")
        answer = await self._run("status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=all")
        changed = [entry[3:] for entry in answer.text.split("\0") if entry]
        if changed:
            shown = ", ".join(changed[:_MANY]) + (f" and {len(changed) - _MANY} more" if len(changed) > _MANY else "")
            raise MergeBlocked(f"{self.top} has changes that are not committed; commit or stash them first: {shown}")

    @asynccontextmanager
    async def received(self, store: Path, ref: str) -> AsyncIterator[str]:
        """The commit behind a ref of another repository of this host's, with all its objects, for as long as it lasts.

        What refers to it at the end keeps it. Raises GitError when an object does not pass.
        """
        incoming = f"refs/gitmachine/incoming/{secrets.token_hex(6)}"
        try:
            await self._run(
                "-c", "protocol.file.allow=always", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
                "--no-auto-maintenance", "--no-recurse-submodules", "--refmap=", "--", str(store), f"+{ref}:{incoming}",
            )  # fmt: skip
            yield (await self._run("rev-parse", "--verify", f"{incoming}^{{commit}}")).text
        finally:
            await asyncio.shield(self._run("update-ref", "-d", incoming, check=False))

    async def merge_base(self, sha: str) -> str | None:
        """The best common ancestor of HEAD and a commit."""
        answer = await self._run("merge-base", "HEAD", sha, check=False)
        return answer.lines()[0] if answer.exit_code == 0 else None

    async def is_ancestor(self, old: str, new: str) -> bool:
        return (await self._run("merge-base", "--is-ancestor", old, new, check=False)).exit_code == 0

    async def changes(self, old: str, new: str) -> list[Change]:
        """The paths that differ between two commits."""
        answer = await self._run("diff-tree", "-r", "-z", "--raw", "--no-renames", old, new)
        return changes_of(answer.stdout)

    async def merge(self, sha: str, message: str, identity: GitIdentity) -> Merged:
        """Merges commits, by fast-forward where that is possible. Raises MergeBlocked."""
        options = ("--ff", "--no-gpg-sign", "-m", message, sha)
        return await self._merge(*await self._author(identity), "merge", *options)

    async def merge_uncommitted(self, sha: str, identity: GitIdentity, *, unrelated: bool) -> Merged:
        """Brings in a commit's changes without committing them. Raises MergeBlocked."""
        options = ("--allow-unrelated-histories",) if unrelated else ()
        return await self._merge(*await self._author(identity), "merge", "--squash", "--ff", *options, sha)

    async def _author(self, identity: GitIdentity) -> tuple[str, ...]:
        """Who merges is the user; the identity given is for a user whose git has none, and would refuse."""
        known = (await self._run("config", "user.email", check=False)).exit_code == 0
        return () if known else ("-c", f"user.name={identity.name}", "-c", f"user.email={identity.email}")

    async def undo_merge(self) -> None:
        """Back to how it was before a merge with conflicts; untracked files stay."""
        await _uninterrupted(self._run("reset", "--quiet", "--merge"))

    async def switch(self, branch: str, sha: str) -> None:
        """Makes the branch at that commit, or moves it forward to it, and checks it out. Raises MergeBlocked."""
        there = await self.branch(branch)
        if branch != await self.current_branch():
            new = ("--no-track", "--create", branch, sha) if there is None else (branch,)
            words = ("switch", "--quiet", "--no-recurse-submodules", *new)
            self._require_done(await _uninterrupted(self._run(*words, check=False)), "switch")
        await self._merge(*await self._author(GitIdentity()), "merge", "--ff-only", sha)

    async def _merge(self, *words: str) -> Merged:
        verb = words.index("merge") + 1
        argv = (*words[:verb], "--no-edit", "--no-stat", "--quiet", *words[verb:])
        done = await _uninterrupted(self._run(*argv, check=False))
        listed = await self._run("ls-files", "--unmerged", "-z")
        conflicts = sorted({entry.partition(b"\t")[2] for entry in listed.stdout.split(b"\0") if entry})
        if not conflicts:
            self._require_done(done, "merge")
        return Merged(await self.head(), tuple(conflicts))

    def _require_done(self, done: Completed, verb: str) -> None:
        if done.exit_code == 0:
            return
        if any(sign in done.stderr for sign in _IN_THE_WAY):
            raise MergeBlocked(
                f"{self.top}: files there stand in the way and were left alone; move them and try again",
                argv=done.argv, exit_code=done.exit_code, stderr=done.stderr,
            )  # fmt: skip
        raise GitError(
            f"{self.top}: git could not {verb}", argv=done.argv, exit_code=done.exit_code, stderr=done.stderr
        )

    async def _run(self, *words: str, check: bool = True) -> Completed:
        return await self._git.run(
            *self._options, *words, git_dir=self.git_dir, env={"GIT_WORK_TREE": str(self.top)}, check=check
        )


async def _personal(git: HostGit) -> tuple[str, ...]:
    """The user's own settings that have a say, as options for git."""
    options: list[str] = []
    for file in settings.git_configuration_files():
        if await asyncio.to_thread(file.is_file):
            options += _options(
                await git.run(
                    "config", "--file", str(file), "--includes", "-z", "--get-regexp", _PERSONAL,
                    git_dir=None, check=False,
                )
            )  # fmt: skip
    return tuple(options)


async def _behind_own(git: HostGit, git_dir: Path, personal: Sequence[str]) -> tuple[str, ...]:
    """The settings among these options that the repository itself does not make: an option would come before it."""
    listed = await git.run("config", "-z", "--name-only", "--get-regexp", _PERSONAL, git_dir=git_dir, check=False)
    own = set(listed.text.split("\0"))
    values = [value for value in personal[1::2] if value.partition("=")[0] not in own]
    return tuple(word for value in values for word in ("-c", value))


def _options(listed: Completed) -> Sequence[str]:
    entries = (entry.partition("\n") for entry in listed.text.split("\0") if entry)
    return [word for key, _, value in entries for word in ("-c", f"{key}={value}")]


async def _without_programs(git: HostGit, git_dir: Path) -> tuple[str, ...]:
    """Options that keep the filters and merge drivers of the repository's configuration from being started."""
    listed = await git.run(
        "config", "-z", "--name-only", "--get-regexp", r"^(filter|merge)\..*\.", git_dir=git_dir, check=False
    )
    sections = {name.rpartition(".")[0] for name in listed.text.split("\0") if name.count(".") > 1}
    options: list[str] = []
    for section in sorted(sections):
        if section.startswith("filter."):
            for key, value in (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false")):
                options += ["-c", f"{section}.{key}={value}"]
        else:
            # One that fails leaves a conflict; an empty one would count as success and drop their side.
            options += ["-c", f"{section}.driver=false"]
    return tuple(options)


async def _uninterrupted(work: Coroutine[Any, Any, _T]) -> _T:
    """Lets git finish what changes the checkout: one that is killed leaves its locks and half of the files."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
