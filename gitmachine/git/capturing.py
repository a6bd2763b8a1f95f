"""Capturing: what a machine has comes into the vault, is verified there, and becomes a checkpoint.

Everything goes one way round: out of the machine come objects and names of objects; the vault decides what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gitmachine.errors import GitError
from gitmachine.git import text
from gitmachine.git.chain import Chain, Draft, Effect, HistoryEntry
from gitmachine.git.checkout import Checkout, History, Provision, Snapshot
from gitmachine.git.grafting import DIRECTORY, Ungraftable, parsed
from gitmachine.git.guard import Guard
from gitmachine.git.looking import Looked, Proposal
from gitmachine.git.loose import object_name
from gitmachine.git.objects import Content
from gitmachine.git.parse import compose_commit
from gitmachine.git.vault import Vault
from gitmachine.machine import Step
from gitmachine.together import both
from gitmachine.types import ExecuteOptions, ExecutionResult, GitIdentity

_UNAPPLIED = "unapplied"
_REMEMBERED_TREES = 100
_COMPOSED_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Captured:
    """What a machine had, now in the vault."""

    tree: str
    """The whole working tree, untracked files included, ignored ones left out."""
    checkpoint: str
    """A commit of that tree, which no branch points at."""
    changed: bool
    """The tree is another one than at the capture before."""
    tip: str | None
    """The session branch."""
    history: History
    nested: tuple[bytes, ...] = ()
    trouble: str = ""
    entry: HistoryEntry | None = None
    """What was written into the history with it."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whose branch it is and what must never be on it."""

    session_id: str
    branch: str
    identity: GitIdentity
    guard: Guard
    secrets: tuple[str, ...] = ()


class Captures:
    """The work of one session in the vault. Calls must not overlap: the caller holds the session's capture lock."""

    def __init__(self, vault: Vault, checkout: Checkout, owner: Ownership) -> None:
        self._vault = vault
        self._checkout = checkout
        self._owner = owner
        self.chain = Chain(vault, self.ref("history"), owner.identity)
        self._known = ""
        self._early: Looked | None = None
        self._trees: dict[str, str] = {}
        self._shadowed: str | None = None
        self._composed: dict[str, bytes] = {}

    @property
    def vault(self) -> Vault:
        return self._vault

    @property
    def checkout(self) -> Checkout:
        return self._checkout

    def ref(self, name: str) -> str:
        """The vault's name for something of this session: tip, files, base, remote, heads/…, stash/…."""
        return f"refs/gitmachine/sessions/{self._owner.session_id}/{name}"

    async def refs(self) -> dict[str, str]:
        """What the vault has of this session, by the names that `ref` takes."""
        prefix = self.ref("")
        return {name.removeprefix(prefix): sha for name, sha in (await self._vault.refs(prefix)).items()}

    async def record_base(self, base: str | None, remote: str | None, tip: str | None) -> None:
        """Pins what the session starts from, what the remote has of it, and where it stands."""
        known = {"base": base, "tip": tip, "remote": remote, "head": tip, f"heads/{self._owner.branch}": tip}
        # Its tree is asked for in a moment, and git's start is most of what either takes.
        await both(self._vault.update_refs({self.ref(name): sha for name, sha in known.items()}), self._tree(tip))

    # --- machine to vault -------------------------------------------------------------------------------

    async def capture(
        self, draft: Draft | None = None, *, files_only: bool = False, looked: Looked | None = None
    ) -> Captured:
        """Brings files and history into the vault. Raises CaptureFailed, Quarantined, VaultError.

        Nothing in the machine's repository changes. With `draft` the session's history gets an entry, in the same
        transaction. `files_only` leaves the machine's repository unread. `looked` is what the machine has said already.
        """
        refs = await self.refs()
        have = await self._have(refs)
        snapshot, history = await self._look(have, refs, files_only=files_only, looked=looked)
        tip = await self._tip(history.refs.get(f"refs/heads/{self._owner.branch}"), refs)
        snapshot, tree, objects = await self._take_files(snapshot, have, refs)
        if history.sparse and history.head is not None:
            await self._vault.write_objects(objects)
            tree = await self._with_left_out(tree, history)
        checkpoint = self._checkpoint(tree, have, refs, history.head or tip, objects)
        entry = await self._conclude(Effect(have, tree, checkpoint, tip), draft, refs, objects)
        self._checkout.took(snapshot, tree)
        if snapshot.tree and not snapshot.is_still and snapshot.tree not in self._composed:
            self._shadowed = snapshot.tree
            self._composed.clear()  # a tree that was made beside the machine is whole there
        return Captured(tree, checkpoint, tree != have, tip, history, snapshot.nested, snapshot.trouble, entry)

    async def begin(self, commit: str | None, draft: Draft) -> None:
        """The first entry of a checkout that has just been made: nobody has touched it yet, so nobody looks."""
        refs = await self.refs()
        have = await self._tree(refs.get("files") or refs.get("base"))
        tree = await self._tree(commit)
        objects: list[Content] = []
        checkpoint = self._checkpoint(tree, have, refs, commit, objects)
        await self._conclude(Effect(have, tree, checkpoint, commit), draft, refs, objects)
        self._checkout.begun(tree)

    async def _conclude(
        self, effect: Effect, draft: Draft | None, refs: dict[str, str], objects: list[Content]
    ) -> HistoryEntry | None:
        """Writes what is new, with an entry if there is a draft, and moves the refs to it."""
        entry = None
        if draft is not None:
            changes = await self._vault.changes(effect.before, effect.tree or "") if effect.changed else []
            entry, told = await self.chain.compose(draft, replace(effect, changes=changes), refs.get("history"))
            objects += told
        new = {"files": effect.checkpoint, "tip": effect.tip, "history": entry.sha if entry else None}
        updates = {name: sha for name, sha in new.items() if sha is not None and sha != refs.get(name)}
        await self._keep(objects, updates, entry, durable=updates.keys() != {"history"})
        if effect.checkpoint and effect.tree:
            self._remember(effect.checkpoint, effect.tree)
        return entry

    async def record(self, draft: Draft, effect: Effect | None = None) -> HistoryEntry:
        """An entry in the history for something that left no checkpoint of its own. Raises VaultError."""
        refs = await self.refs()
        effect = effect or Effect(tip=refs.get("tip"))
        entry, objects = await self.chain.compose(draft, effect, refs.get("history"))
        await self._keep(objects, {"history": entry.sha}, entry, durable=effect.changed)
        return entry

    async def _keep(
        self, objects: list[Content], updates: dict[str, str], entry: HistoryEntry | None, *, durable: bool
    ) -> None:
        await self._vault.keep(objects, {self.ref(name): sha for name, sha in updates.items()}, durable=durable)
        if entry is not None:
            self.chain.wrote(entry)

    async def note_outside(self, before: str | None, captured: Captured) -> HistoryEntry:
        """An entry for changes since the tree `before` that came by no command: by a file call, say."""
        changes = await self._vault.changes(before, captured.tree) if before else ()
        effect = Effect(before, captured.tree, captured.checkpoint, captured.tip, changes)
        return await self.record(Draft("outside", "changes outside of commands"), effect)

    async def _tip(self, theirs: str | None, refs: dict[str, str]) -> str | None:
        """Where the session branch is: the machine says it, unless it lags behind a commit that it did not take."""
        unapplied = refs.get(_UNAPPLIED)
        if theirs is None or unapplied is None:
            return theirs or refs.get("tip")
        return unapplied if await self._vault.is_ancestor(theirs, unapplied) else theirs

    async def _remember_unapplied(self, sha: str | None) -> None:
        """Keeps in mind which commit the machine did not take, until it has taken one."""
        if sha is not None or _UNAPPLIED in await self.refs():
            await self._vault.update_refs({self.ref(_UNAPPLIED): sha})

    # --- one request for several things, on a machine that can do that ----------------------------------

    async def provision(self, plan: Provision) -> None:
        """Makes the checkout; what the first capture asks comes with it. Raises as `Checkout.provision`."""
        if not self._compound:
            await self._checkout.provision(plan)
            return
        refs = await self.refs()
        steps = await self._questions(refs, fresh=True)
        self._early = Looked.read(refs, await self._checkout.provision(plan, steps))

    async def run(self, command: str, options: ExecuteOptions) -> tuple[ExecutionResult, Looked | None]:
        """Runs a command; what the capture after it asks comes with the result. None where it does not."""
        if not self._compound:
            return await self._checkout.machine.execute(command, options), None
        refs = await self.refs()
        result, answers = await self._checkout.machine.execute_then(command, options, await self._questions(refs))
        return result, Looked.read(refs, answers)

    async def look(self, proposal: Proposal | None = None) -> Looked | None:
        """What a capture asks, and a commit if there is something to commit. None where that is not one request."""
        if not self._compound:
            return None
        refs = await self.refs()
        steps = await self._questions(refs)
        if proposal is not None:
            steps.append(proposal.step(self._checkout.path, await self._checkout.shadow()))
        _, answers = await self._checkout.machine.execute_then(":", ExecuteOptions(), steps)
        return Looked.read(refs, answers)

    @property
    def _compound(self) -> bool:
        return self._checkout.machine.capabilities.compound

    async def _questions(self, refs: dict[str, str], *, fresh: bool = False) -> list[Step]:
        snapshot = await self._checkout.snapshot_step(await self._have(refs), self._bases(refs), fresh=fresh)
        return [snapshot, self._checkout.history_step(self._known, _commits(refs))]

    async def _look(
        self, have: str, refs: dict[str, str], *, files_only: bool, looked: Looked | None
    ) -> tuple[Snapshot, History]:
        looked, self._early = looked or self._early, None
        if files_only:
            looking = self._checkout.snapshot(have, self._bases(refs), edits=self._may_compose)
            return await looking, History(state=self._known)
        if looked is None or not (looked.fits(refs) or looked.confirms(have, self._known)):
            looked = await self.look()
        if looked is None:
            looking = self._checkout.snapshot(have, self._bases(refs), edits=self._may_compose)
            snapshot, history = await both(looking, self._checkout.history(self._known, _commits(refs)))
        else:
            reading = self._checkout.snapshot_of(have, self._bases(refs), looked.snapshot)
            step = self._checkout.history_step(self._known, _commits(refs))
            snapshot, history = await both(reading, self._checkout.history_of(step, looked.history))
        return snapshot, await self._take_history(history, refs)

    async def _have(self, refs: dict[str, str]) -> str:
        return await self._tree(refs.get("files") or refs.get("base"))

    @property
    def _may_compose(self) -> bool:
        """Not for ever: what was composed is kept until the machine has it, too."""
        return sum(map(len, self._composed.values())) < _COMPOSED_BYTES

    def composed_trees(self, tree: str) -> dict[str, bytes]:
        """Of a tree that was made here what the machine may not have: its tree objects by name."""
        found: dict[str, bytes] = {}
        waiting = [tree]
        while waiting:
            name = waiting.pop()
            if name in self._composed and name not in found:
                found[name] = self._composed[name]
                waiting += [sha for mode, sha in parsed(found[name]).values() if mode == DIRECTORY]
        return found

    def _bases(self, refs: dict[str, str]) -> list[str]:
        """What the vault has and is surely beside the machine: the last tree made there, and the session's base."""
        return [sha for sha in (self._shadowed, refs.get("base")) if sha]

    async def _take_files(
        self, snapshot: Snapshot, have: str, refs: dict[str, str]
    ) -> tuple[Snapshot, str, list[Content]]:
        """The tree, and what of it is still to be written; with the snapshot that it came from in the end."""
        if edits := snapshot.edits:
            try:
                made = await self._vault.grafted(have, edits)
                self._composed |= made.objects
                trees = [("tree", content) for content in made.objects.values()]
                return snapshot, made.tree, [*(("blob", content) for content in edits.blobs.values()), *trees]
            except Ungraftable:
                snapshot = await self._checkout.snapshot(have, self._bases(refs))
        if snapshot.pack is not None:
            await self._vault.receive(snapshot.pack, {}, tips=[snapshot.tree])
        return snapshot, snapshot.tree, []

    async def _with_left_out(self, tree: str, history: History) -> str:
        """The tree with the files that a sparse checkout leaves out: they are absent, not deleted."""
        left_out = set(history.sparse)
        changes = await self._vault.changes(await self._tree(history.head), tree)
        back = {c.path: (c.old_mode, c.old_sha) for c in changes if c.status == "D" and c.path in left_out}
        return await self._vault.tree_with(tree, back) if back else tree

    async def _take_history(self, history: History, refs: dict[str, str]) -> History:
        """Puts the machine's branches and stashes into the vault; history that fails verification is unreadable."""
        if history.unreadable is not None or history.state == self._known:
            return history
        wanted = {self.ref(_vault_name(name)): sha for name, sha in history.refs.items()}
        if history.head is not None:
            wanted[self.ref("head")] = history.head
        kept = {self.ref(name) for name in refs if name.startswith(("heads/", "stash/"))}
        gone: dict[str, str | None] = dict.fromkeys(kept - wanted.keys())
        try:
            await self._vault.receive(history.pack, {**gone, **wanted})
        except GitError as error:
            return replace(history, refs={}, head=None, unreadable=f"it did not pass verification: {error}")
        self._known = history.state
        return history

    def _checkpoint(self, tree: str, have: str, refs: dict[str, str], head: str | None, objects: list[Content]) -> str:
        """The checkpoint of a tree; one that is new comes to the `objects` to be written."""
        if tree == have and "files" in refs:
            return refs["files"]
        # The commit that was checked out is a parent too: what an amend or a reset leaves behind stays reachable.
        parents = [sha for sha in dict.fromkeys((refs.get("files"), head)) if sha]
        raw = compose_commit(tree, parents, self._owner.identity, "gitmachine checkpoint", datetime.now(UTC))
        objects.append(("commit", raw))
        return object_name("commit", raw)

    async def _tree(self, commit: str | None) -> str:
        if commit is None:
            return text.EMPTY_TREE
        if commit not in self._trees:
            self._remember(commit, await self._vault.tree_of(commit))
        return self._trees[commit]

    def _remember(self, commit: str, tree: str) -> None:
        if len(self._trees) > _REMEMBERED_TREES:
            self._trees.clear()
        self._trees[commit] = tree


def _commits(refs: Mapping[str, str]) -> list[str]:
    return [sha for sha in dict.fromkeys((refs.get("tip"), refs.get("base"))) if sha]


def _vault_name(machine_ref: str) -> str:
    return machine_ref.removeprefix("refs/")
