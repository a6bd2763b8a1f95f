"""SessionBranch: a session's branch, with its work in the vault and its checkout in a machine.

Everything goes one way round: what the machine has is captured into the vault and verified there; commits,
diffs and pushes are made from the vault; what comes of them is handed back to the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gitmachine.errors import BranchNotFound, CheckpointNotFound, ConfigurationError
from gitmachine.git import restoring, text
from gitmachine.git.capturing import Captured, Captures
from gitmachine.git.chain import HistoryEntry
from gitmachine.git.checkout import INLINE_OBJECT_BYTES
from gitmachine.git.guard import Withheld
from gitmachine.git.publish import PublishRequest, publish
from gitmachine.types import PullOutcome, PushOutcome

_AUTO_MESSAGE = "checkpoint"


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """What a commit came to."""

    sha: str | None
    """None when there was nothing to commit."""
    message: str
    withheld: tuple[Withheld, ...] = ()
    """What the guard kept out. The checkpoint in the vault has it."""
    not_applied: str | None = None
    """Why the repository in the machine could not be given the commit; the vault has it all the same."""


class SessionBranch(Captures):
    """One session's branch. Calls must not overlap: the caller holds the session's capture lock."""

    async def is_uncommitted(self) -> bool:
        """The last checkpoint has files that the session branch has not."""
        refs = await self.refs()
        return "files" in refs and await self._tree(refs["files"]) != await self._tree(refs.get("tip"))

    async def restore_files(self, *, objects: str | None = None) -> None:
        """Puts back into a fresh checkout of the tip what was captured and never committed. Raises GitError."""
        refs = await self.refs()
        if "files" in refs:
            await self.restore(await self._tree(refs.get("tip")), await self._tree(refs["files"]), objects=objects)

    # --- commit -----------------------------------------------------------------------------------------

    async def commit(self, message: str | None = None, paths: Sequence[str] | None = None) -> CommitOutcome:
        """Puts all changes, or those below `paths`, on the session branch.

        Paths that are named are not guarded. Commits that the agent made itself stay as they are, on whatever
        branch it made them: the session branch takes them in, by fast-forward or as a second parent.
        """
        message = message or _AUTO_MESSAGE
        captured = await self.capture()
        tip = captured.tip
        tree, withheld = await self._tree_to_commit(captured, paths)
        parents = await self._parents(tip, captured.history.head)
        if tree == await self._tree(parents[0] if parents else None) and len(parents) < 2:
            if not parents or parents[0] == tip:
                return CommitOutcome(None, message, withheld)
            return await self._fast_forward(parents[0], captured, message, withheld)
        made = await self._vault.write_commit(tree, parents, self._owner.identity, message, datetime.now(UTC))
        self._trees[made.sha] = tree
        await self._vault.update_refs({self.ref("tip"): made.sha})
        problem = await self._hand_back(captured, made.sha, made.raw, tree)
        return CommitOutcome(made.sha, message, withheld, problem)

    async def _tree_to_commit(
        self, captured: Captured, paths: Sequence[str] | None
    ) -> tuple[str, tuple[Withheld, ...]]:
        before = await self._tree(captured.history.head or captured.tip)
        if captured.tree == before:
            return before, ()
        changes = await self._vault.changes(before, captured.tree)
        if paths is not None:
            chosen = [change for change in changes if _below(change.path, paths)]
            entries = {c.path: None if c.status == "D" else (c.new_mode, c.new_sha) for c in chosen}
            return (await self._vault.tree_with(before, entries) if entries else before), ()
        withheld = await self._owner.guard.inspect(self._vault, changes, self._owner.secrets)
        if not withheld:
            return captured.tree, ()
        names = {item.path for item in withheld}
        old = {c.path: None if c.status == "A" else (c.old_mode, c.old_sha) for c in changes if c.path in names}
        return await self._vault.tree_with(captured.tree, old), withheld

    async def _parents(self, tip: str | None, head: str | None) -> list[str]:
        if tip is None or head is None or head == tip:
            return [sha for sha in (tip or head,) if sha]
        if await self._vault.is_ancestor(head, tip):
            return [tip]
        return [head] if await self._vault.is_ancestor(tip, head) else [tip, head]

    async def _fast_forward(
        self, sha: str, captured: Captured, message: str, withheld: tuple[Withheld, ...]
    ) -> CommitOutcome:
        await self._vault.update_refs({self.ref("tip"): sha})
        raw = await self._vault.raw_commit(sha)
        return CommitOutcome(sha, message, withheld, await self._hand_back(captured, sha, raw, None))

    async def _hand_back(self, captured: Captured, sha: str, raw: bytes, tree: str | None) -> str | None:
        """Gives the machine's repository the commit; None when it took it, else why not."""
        history = captured.history
        if history.unreadable is not None:
            await self._remember_unapplied(sha)
            return history.unreadable
        branch = f"refs/heads/{self._owner.branch}"
        index, objects = b"", None
        if tree is not None and history.head_ref == branch:
            changes = await self._vault.changes(await self._tree(history.head), tree)
            index = text.index_info([(c.path, c.new_mode, c.new_sha) for c in changes])
        has = history.refs.get(branch)
        if (tree is not None and (tree != captured.tree or captured.nested)) or has != captured.tip:
            objects = self._vault.pack([sha], without=[commit for commit in (has, history.head) if commit])
        trees = {} if tree is None or objects else self.composed_trees(tree)
        if sum(map(len, trees.values())) > INLINE_OBJECT_BYTES:
            trees, objects = {}, self._vault.pack_of(list(trees))
        problem = await self._checkout.apply_commit(
            branch=self._owner.branch,
            sha=sha,
            made=[("commit", raw), *(("tree", content) for content in trees.values())],
            old=has,
            index=index,
            objects=objects,
            reason="gitmachine: commit",
        )
        await self._remember_unapplied(sha if problem else None)
        # The next capture finds what this one made and has nothing to send.
        self._known = "" if problem else _moved(history.state, branch, sha, history.head_ref)
        return problem

    # --- vault to remote and back -----------------------------------------------------------------------

    async def push(self, allow: Iterable[str] = ()) -> PushOutcome:
        """Publishes the session branch as the vault has it. Raises PushRejected, PushHeld, RepositoryError."""
        refs = await self.refs()
        tip = refs.get("tip")
        if tip is None or tip == (refs.get("remote") or refs.get("base")):
            return PushOutcome("nothing", sha=tip)
        outcome = await publish(
            self._vault,
            PublishRequest(
                session_id=self._owner.session_id,
                branch=self._owner.branch,
                sha=tip,
                expected=refs.get("remote"),
                allow=tuple(allow),
                guard=self._owner.guard,
                time=datetime.now(UTC),
                secrets=self._owner.secrets,
            ),
        )
        await self._vault.update_refs({self.ref("remote"): tip})
        return outcome

    async def pull(self) -> PullOutcome:
        """Merges what the remote has of this branch. Raises MergeBlocked, RepositoryError, GitError."""
        if self._vault.remote is None:
            raise ConfigurationError("this session has no remote repository to pull from")
        remote = await self._vault.fetch()
        theirs = remote.heads.get(self._owner.branch)
        refs = await self.refs()
        tip = refs.get("tip")
        if theirs is None or theirs == tip or (tip is not None and await self._vault.is_ancestor(theirs, tip)):
            if theirs is not None:
                await self._vault.update_refs({self.ref("remote"): theirs})
            return PullOutcome(sha=tip, updated=False)
        outcome = await self._checkout.merge(
            branch=self._owner.branch,
            sha=theirs,
            objects=self._vault.pack([theirs], without=[tip] if tip else []),
            identity=self._owner.identity,
        )
        # Pinned first: the objects of the merge are verified against what the vault can reach.
        await self._vault.update_refs({self.ref("remote"): theirs})
        await self.capture()
        return outcome

    async def diff(self, base: str | int, paths: Sequence[str], *, stat: bool, to: str | int | None = None) -> str:
        """What is new in `to`, by default the working tree, against `base`.

        Each is a checkpoint (a number, or "#3"), "HEAD", "session" (where it began), a branch, a tag or a commit.
        """
        captured = await self.capture()
        old = await self._tree_named(base, captured)
        new = captured.tree if to is None else await self._tree_named(to, captured)
        return await self._vault.diff(old, new, paths=paths, stat=stat)

    async def tree_at(self, number: int) -> str:
        """The working tree as an entry of the history left it. Raises CheckpointNotFound."""
        entry = await self.entry_with_tree(number)
        assert entry.tree is not None
        return entry.tree

    async def entry_with_tree(self, number: int) -> HistoryEntry:
        """The entry of that number, which must have a checkpoint. Raises CheckpointNotFound."""
        entry = await self.chain.entry(number)
        if entry.tree is None:
            raise CheckpointNotFound(
                f"entry {number} of the history left no checkpoint: choose one that has; "
                'with checkpoint="command" all have'
            )
        return entry

    async def restore(self, current: str, target: str, *, objects: str | None = None) -> restoring.Restored:
        """Changes the files in the machine from one tree to another; its repository stays as it is.

        `objects` is a directory that the machine can read, if that has all that `target` needs. Raises GitError.
        """
        if current == target:
            return restoring.Restored()
        plan = restoring.plan(await self._vault.changes(current, target))
        pack = None if objects else self._vault.pack_of(plan.blobs)
        return await restoring.restore(self._checkout.machine, self._checkout.path, plan, pack, objects)

    async def _tree_named(self, name: str | int, captured: Captured) -> str:
        if isinstance(name, int) or (name[:1] == "#" and name[1:].isdecimal()):
            return await self.tree_at(name if isinstance(name, int) else int(name[1:]))
        if name == "HEAD":
            return await self._tree(captured.history.head or captured.tip)
        if name == "session":
            return await self._tree((await self.refs()).get("base"))
        return await self._tree(await self._resolve(name, captured))

    async def _resolve(self, name: str, captured: Captured) -> str:
        local = captured.history.refs.get(f"refs/heads/{name}")
        if local is not None:
            return local
        found = await self._vault.resolve(name)
        if found is None:
            raise BranchNotFound(f"there is no branch, tag or commit {name!r} in this session or on its remote")
        return found


def _below(path: bytes, roots: Sequence[str]) -> bool:
    for root in roots:
        name = root.rstrip("/").removeprefix("./").encode("utf-8", "surrogateescape")
        if name in (b"", b".") or path == name or path.startswith(name + b"/"):
            return True
    return False


def _moved(state: str, branch: str, sha: str, head_ref: str | None) -> str:
    """The answer of the history script as it will be once `branch` is at `sha`."""
    lines = [line for line in state.splitlines() if not line.endswith(f" {branch}") or line.startswith("head ")]
    head = f"head {sha} {branch}" if head_ref == branch else lines[0]
    heads = sorted(
        [*(line for line in lines[1:] if " refs/heads/" in line), f"ref {sha} {branch}"],
        key=lambda line: line.split(" ", 2)[2],
    )
    return "\n".join([head, *heads, *(line for line in lines[1:] if " refs/stash/" in line)])
