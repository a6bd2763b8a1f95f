"""Bringing a session's work into a person's own checkout: as changes, as commits, or as a branch.

Nothing of the session runs on the way; what would run once somebody builds, opens or enters the checkout is named.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

from gitmachine.errors import BranchNotFound, MachineError, MergeBlocked
from gitmachine.git.guard import Guard, Withheld
from gitmachine.git.names import check_session_name, session_ref
from gitmachine.git.parse import Change
from gitmachine.git.remote import parse_remote
from gitmachine.git.runnable import Caution, look_first
from gitmachine.git.user_checkout import Merged, UserCheckout
from gitmachine.git.vault import Vault
from gitmachine.opening import machine_of
from gitmachine.sessions import Registry, SessionRecord
from gitmachine.types import MachineState

__all__ = ["BroughtHome", "Caution", "Options", "apply", "checkout", "merge"]


@dataclass(frozen=True, slots=True)
class Options:
    """How to bring work home."""

    allow: tuple[str, ...] = ()
    """Paths, directories or patterns that the guard may let through."""
    restore: bool = False
    """After conflicts the checkout is put back as it was; else they are left in the files, as git leaves them."""
    guard: Guard = field(default_factory=Guard)


@dataclass(frozen=True, slots=True)
class BroughtHome:
    """What has become of the checkout."""

    session: str
    directory: Path
    """The top of the checkout."""
    head: str | None
    """The commit that is checked out now."""
    changed: tuple[bytes, ...]
    """Paths that the session changed, of those that the checkout did not have yet."""
    conflicts: tuple[bytes, ...] = ()
    restored: bool = False
    """There were conflicts, and the checkout is as it was before."""
    withheld: tuple[Withheld, ...] = ()
    """What the guard kept out. The vault has it."""
    look_first: tuple[Caution, ...] = ()
    """What to read before anything in the checkout is run."""
    left_behind: tuple[bytes, ...] = ()
    """Paths with changes that the session has not committed, which therefore did not come along."""


async def apply(directory: Path, session: str, options: Options | None = None) -> BroughtHome:
    """All that the session has changed, committed or not, as uncommitted changes in the checkout.

    Untracked files of the session included. What the guard withholds stays out and is named.

    Raises: MergeBlocked when the checkout has changes of its own, SessionNotFound, ConfigurationError, GitError.
    """
    options = options or Options()
    journey = await _Journey.begin(directory, session)
    async with journey.home.received(journey.vault.store, journey.ref(journey.committed or "files")) as sha:
        # Without a commit of its own yet, the session shares no history with anybody.
        base = await journey.home.merge_base(sha) if journey.committed else None
    head = await journey.home.head()
    if head is None:
        raise MergeBlocked(f"{journey.home.top} has no commit yet to apply changes to: `merge` brings the commits in")
    changes = await journey.vault.changes(base, journey.refs["files"])
    withheld = _unless_allowed(await options.guard.inspect(journey.vault, changes, journey.secrets), options.allow)
    coming = _without(changes, withheld)
    answer = await journey.answer(coming, withheld=withheld)
    if not coming:
        return answer
    tree = await _tree_without(journey.vault, journey.refs["files"], changes, withheld)
    parents = [base] if base else []
    message = f"The work of GitMachine session {journey.record.session}"
    made = await journey.vault.write_commit(tree, parents, journey.record.identity, message, datetime.now(UTC))
    passing = journey.ref(f"home/{secrets.token_hex(6)}")
    await journey.vault.update_refs({passing: made.sha})
    try:
        async with journey.home.received(journey.vault.store, passing) as sha:
            identity = journey.record.identity
            merged = await journey.home.merge_uncommitted(sha, identity, unrelated=base is None)
            return await journey.finish(answer, merged, options)
    finally:
        await journey.vault.update_refs({passing: None})


async def merge(directory: Path, session: str, options: Options | None = None) -> BroughtHome:
    """The session's commits merged into what is checked out, by fast-forward where that is possible.

    Raises: MergeBlocked when the checkout has changes of its own, or the commits hold what the guard withholds;
    BranchNotFound when nothing was committed; SessionNotFound, ConfigurationError, GitError.
    """
    options = options or Options()
    journey = await _Journey.begin(directory, session)
    async with journey.home.received(journey.vault.store, journey.ref(journey.require_commits())) as sha:
        answer = await journey.inspected(sha, options)
        message = f"Merge GitMachine session '{journey.record.session}'"
        merged = await journey.home.merge(sha, message, journey.record.identity)
        return await journey.finish(answer, merged, options)


async def checkout(
    directory: Path, session: str, options: Options | None = None, *, branch: str | None = None
) -> BroughtHome:
    """The session's commits as a local branch, by default of the session's name, which is checked out.

    A branch that is there is moved forward, never back or aside. Raises as `merge` does.
    """
    options = options or Options()
    journey = await _Journey.begin(directory, session)
    name = check_session_name(branch or journey.record.session)
    async with journey.home.received(journey.vault.store, journey.ref(journey.require_commits())) as sha:
        answer = await journey.inspected(sha, options)
        there = await journey.home.branch(name)
        if there is not None and not await journey.home.is_ancestor(there, sha):
            if not await journey.home.is_ancestor(sha, there):
                raise MergeBlocked(
                    f"{journey.home.top}: branch {name!r} has commits that the session lacks; choose another name for "
                    "the branch, or merge the session into it"
                )
            sha = there  # the user's own commits on top of the session's
        await journey.home.switch(name, sha)
        return replace(answer, head=await journey.home.head())


@dataclass(frozen=True, slots=True)
class _Journey:
    """From a session's vault to a checkout."""

    home: UserCheckout
    record: SessionRecord
    vault: Vault
    refs: dict[str, str]
    secrets: tuple[str, ...]

    @classmethod
    async def begin(cls, directory: Path, session: str) -> _Journey:
        """Everything that can be refused is refused here, before anything is changed."""
        home = await UserCheckout.open(directory)
        await home.require_clean()
        registry = Registry()
        record = registry.find(session)
        await _bring_up_to_date(record)
        vault = await Vault.open(registry.settings, None, record.vault)
        prefix = session_ref(record.id, "x").removesuffix("x")
        refs = {name.removeprefix(prefix): sha for name, sha in (await vault.refs(prefix)).items()}
        if "files" not in refs:
            raise BranchNotFound(f"the vault has nothing of session {record.session!r} yet")
        secret = parse_remote(record.repository).secrets if record.repository else ()
        return cls(home, record, vault, refs, secret)

    def ref(self, name: str) -> str:
        return session_ref(self.record.id, name)

    @property
    def committed(self) -> str | None:
        """The name of the ref with the session's commits."""
        return next((name for name in ("tip", "base") if name in self.refs), None)

    def require_commits(self) -> str:
        if "tip" not in self.refs or self.refs["tip"] == self.refs.get("base"):
            raise BranchNotFound(
                f"session {self.record.session!r} has committed nothing: `gitmachine commit {self.record.session}`, "
                "or `gitmachine apply` for what is not committed"
            )
        return "tip"

    async def inspected(self, sha: str, options: Options) -> BroughtHome:
        """What comes with the session's commits. Raises MergeBlocked for what the guard withholds."""
        head = await self.home.head()
        changes = await self.vault.changes(await self.home.merge_base(sha) if head else None, sha)
        withheld = _unless_allowed(await options.guard.inspect(self.vault, changes, self.secrets), options.allow)
        if withheld:
            named = "; ".join(f"{os.fsdecode(item.path)}: {item.reason}" for item in withheld)
            raise MergeBlocked(
                f"the commits of session {self.record.session!r} hold what the guard keeps back ({named}); allow these "
                "paths, or apply() the changes without them"
            )
        return await self.answer(changes, left_behind=await self.vault.changes(sha, self.refs["files"]))

    async def answer(
        self,
        changes: Collection[Change],
        *,
        withheld: tuple[Withheld, ...] = (),
        left_behind: Iterable[Change] = (),
    ) -> BroughtHome:
        return BroughtHome(
            session=self.record.session,
            directory=self.home.top,
            head=await self.home.head(),
            changed=tuple(sorted(change.path for change in changes)),
            withheld=withheld,
            look_first=await look_first(self.vault, changes),
            left_behind=tuple(sorted(change.path for change in left_behind)),
        )

    async def finish(self, answer: BroughtHome, merged: Merged, options: Options) -> BroughtHome:
        if merged.conflicts and options.restore:
            await self.home.undo_merge()
            return replace(answer, conflicts=merged.conflicts, restored=True)
        return replace(answer, head=merged.head, conflicts=merged.conflicts)


async def _bring_up_to_date(record: SessionRecord) -> None:
    """What a live machine has goes to the vault first; of one that is gone the vault has the last checkpoint."""
    from gitmachine.git_machine import GitMachine

    if record.machine is None or record.state is MachineState.STOPPED:
        return
    try:
        machine = await machine_of(record)
    except MachineError:
        return
    try:
        if machine.state not in (MachineState.RUNNING, MachineState.PAUSED):
            return
        gm = await GitMachine.connect(
            machine,
            record.repository,
            session=record.session,
            auto_commit=record.auto_commit,
            checkpoint=record.checkpoint,
            identity=record.identity,
        )
        await gm.status()
    finally:
        await machine.aclose()


def _unless_allowed(withheld: Iterable[Withheld], allow: Collection[str]) -> tuple[Withheld, ...]:
    return tuple(item for item in withheld if not _allowed(os.fsdecode(item.path), allow))


def _allowed(path: str, allow: Collection[str]) -> bool:
    return any(path == item or path.startswith(item.rstrip("/") + "/") or fnmatch(path, item) for item in allow)


def _without(changes: Iterable[Change], withheld: Iterable[Withheld]) -> list[Change]:
    names = {item.path for item in withheld}
    return [change for change in changes if change.path not in names]


async def _tree_without(vault: Vault, commit: str, changes: Iterable[Change], withheld: Collection[Withheld]) -> str:
    """The tree of a commit, with the withheld paths as they were before the changes."""
    names = {item.path for item in withheld}
    old = {c.path: None if c.status == "A" else (c.old_mode, c.old_sha) for c in changes if c.path in names}
    return await vault.tree_with(await vault.tree_of(commit), old)
