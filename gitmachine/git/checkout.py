"""Checkout: the machine's side of a session's git, driven through `Machine.execute` alone.

Everything that the machine answers is untrusted: it names objects, and the vault verifies them.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gitmachine.errors import CaptureFailed, GitError, MergeBlocked
from gitmachine.git import loose, text
from gitmachine.git.grafting import Edits
from gitmachine.git.objects import Content
from gitmachine.git.packing import packed
from gitmachine.machine import Machine, Place, Step
from gitmachine.together import both
from gitmachine.types import ExecuteOptions, ExecutionResult, GitIdentity, PullOutcome

Pack = bytes | AsyncIterator[bytes] | None
"""A pack of objects, whole or in pieces; None when there are none to send."""
INLINE_PACK_BYTES = 512 * 1024
"""A pack up to this size rides on the output of the command that made it; a larger one is fetched as a file."""

INLINE_OBJECT_BYTES = 48 * 1024
"""Objects up to this size go into a machine in the environment of a command; larger ones as a file."""

_PROVISION_LIMIT_S = 1800.0
_CAPTURE_LIMIT_S = 900.0
_APPLY_LIMIT_S = 120.0
_HISTORY_LIMIT_S = 10.0
"""A configuration that includes a pipe hangs every git command; then the files are captured without history."""
_HISTORY_HUNG_LIMIT_S = 1.0
"""For a repository that hung the last time: who paid once need not pay again at each command."""

_HISTORY_FILES = ("HEAD", "config", "commondir", "packed-refs", "refs", "reftable", "logs/refs/stash", "info")
"""In .git, what the answer of scripts/history.sh depends on (gitrepository-layout(5))."""

_NESTING_LIMIT = 64

_MARK = "edits-"
_FEW_EDITS = 24
_EDIT_BYTES = 256 * 1024
"""Of each compressed file. More files, or a larger one, come as a pack."""


@dataclass(frozen=True, slots=True)
class Provision:
    """What a new checkout is made of."""

    branch: str
    commit: str | None
    refs: Mapping[str, str]
    """All that is to be in packed-refs, the branch itself included."""
    url: str | None
    identity: GitIdentity
    objects: str | None
    """Where the machine can read the shared objects, when it can."""
    bundle: AsyncIterator[bytes] | None = None
    """A pack with the objects, for a machine that cannot."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The working tree as it is."""

    tree: str
    """Empty when there are `edits`: then it is the tree that the host has, with these made."""
    pack: Pack
    """The objects that the host does not have yet; None when it has them all."""
    trouble: str = ""
    """What git could not read, in its words."""
    nested: tuple[bytes, ...] = ()
    """Repositories inside the repository, whose files are in the tree."""
    edits: Edits | None = None
    mark: str = ""
    """What the index of the files is known by, when there are `edits`."""
    tree_marks: bytes = b""
    """What the observer said of the files before they were looked at."""
    is_still: bool = False
    """Nothing has changed since the last look, by those marks: this one was spared."""


@dataclass(frozen=True, slots=True)
class History:
    """Branches and stashes of the repository in the machine."""

    head: str | None = None
    """The commit that is checked out."""
    head_ref: str | None = None
    """The branch that is checked out, as a full name; None when HEAD is detached."""
    refs: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    """The answer as text, to be handed in as `known` the next time."""
    pack: Pack = None
    sparse: tuple[bytes, ...] = ()
    """Paths that a sparse checkout leaves out of the working tree."""
    unreadable: str | None = None
    """Why nothing could be read, when nothing could."""
    in_place: bool = True
    """All of it is told by the files of _HISTORY_FILES."""


class Checkout:
    """The repository at `path` in a machine."""

    def __init__(self, machine: Machine, path: str) -> None:
        self._machine = machine
        self.path = path
        self._adopt_index = False
        self._history_limit = _HISTORY_LIMIT_S
        self._marked = ("", "")
        self._begun = ""
        self._may_be_young = True
        self._still = (b"", "")
        self._history = (b"", History())

    @property
    def machine(self) -> Machine:
        return self._machine

    async def provision(self, plan: Provision, then: Sequence[Step] = ()) -> tuple[ExecutionResult, ...] | None:
        """Makes the checkout, then runs some steps. Raises GitError when git in the machine fails or is missing."""
        observer = await self._machine.observer(self.path)
        shadow = observer.git_objects_in_machine if observer else f"{await self.shadow()}/objects"
        alternates = [directory for directory in (plan.objects, shadow) if directory]
        environment = {
            "GM_REPO": self.path,
            "GM_BRANCH": plan.branch,
            "GM_COMMIT": plan.commit or "",
            "GM_CONFIG": _repository_config(plan),
            "GM_ALTERNATES": "".join(f"{directory}\n" for directory in alternates),
            "GM_PACK": await self._send(plan.bundle),
        }
        options = _options(environment, text.packed_refs(plan.refs).encode(), _PROVISION_LIMIT_S)
        making = self._machine.execute_then(text.script("provision"), options, then)
        # It takes as long to come up as the checkout to be made.
        result, answers = (await both(making, observer.execute(":")))[0] if observer else await making
        if result.exit_code == 127:
            raise GitError(
                f"there is no git in the machine {self._machine.id}: use an image or a root file system with git",
                stderr=result.stderr,
            )
        _require(result, f"the checkout of {plan.branch!r} at {self.path} could not be made")
        if observer is None:
            self._adopt_index = not then  # at the first snapshot: a step of its own would be a request of its own
            return answers
        self._begun = f"{_MARK}{secrets.token_hex(8)}"
        place, known = await self._vantage()
        await self._snapshot_step(
            place, {**known, **self._look(), "GM_STEP": "prepare", "GM_ADOPT_INDEX": "yes", "GM_NEXT": self._begun}
        )
        return None

    @property
    def is_prepared(self) -> bool:
        """The state of all files is known from when the checkout was made."""
        return bool(self._begun)

    def begun(self, tree: str) -> None:
        """The checkout as it was made has this tree, and the vault has it."""
        self._marked = (self._begun, tree)

    async def snapshot(self, have: str, bases: Sequence[str] = (), *, edits: bool = False) -> Snapshot:
        """The working tree as a tree object. `have` is a tree that the host has.

        `bases` are other trees or commits that it has and the machine, too. With `edits` the answer may be what has
        changed since `have`, for the caller to make the tree. Neither the repository's index nor anything else in it
        is touched. Raises CaptureFailed.
        """
        tree_marks = await self._tree_marks()
        if tree_marks and self._still == (tree_marks, have):
            return Snapshot(have, None, is_still=True)
        place, environment = await self._vantage()
        mark, marked = self._marked
        following = f"{_MARK}{secrets.token_hex(8)}"
        environment |= {
            "GM_HAVE": have,
            "GM_BASES": " ".join(bases),
            "GM_ADOPT_INDEX": "yes" if self._adopt_index else "",
            # From within the machine each answer would be longer, and the host could not tell the objects apart.
            "GM_FEW": str(_FEW_EDITS) if edits and place is not self._machine else "",
            "GM_BLOB_BYTES": str(_EDIT_BYTES),
            "GM_MARK": mark if mark and marked == have else have,
            "GM_NEXT": following,
        }
        self._adopt_index = False
        answer = await self._snapshot_step(place, {**environment, **self._look()})
        self._may_be_young = answer.has("young")
        if answer.has("few"):
            return Snapshot("", None, edits=answer.edits(), mark=following, tree_marks=tree_marks)
        return replace(await self._whole(place, environment, answer), tree_marks=tree_marks)

    async def _tree_marks(self) -> bytes:
        observer = await self._machine.observer(self.path)
        return await observer.tree_marks(observer.work_tree) if observer else b""

    async def snapshot_step(self, have: str, bases: Sequence[str] = (), *, fresh: bool = False) -> Step:
        """The same as a step, for a machine without an observer; `snapshot_of` reads its result.

        `fresh` says that the checkout was just made.
        """
        _, environment = await self._vantage()
        adopt = self._adopt_index or fresh
        self._adopt_index = False
        environment |= {**_asked(have, bases, adopt=adopt), **self._look()}
        return Step(_snapshot_script(environment), _options(environment, None, _CAPTURE_LIMIT_S))

    async def snapshot_of(self, have: str, bases: Sequence[str], result: ExecutionResult) -> Snapshot:
        """What the step came to, or one like it. Raises CaptureFailed."""
        place, environment = await self._vantage()
        environment |= _asked(have, bases, adopt=False)
        answer = self._snapshot_answer(result)
        self._may_be_young = answer.has("young")
        return await self._whole(place, environment, answer)

    def _look(self) -> dict[str, str]:
        """The step, with what a young checkout needs until a look has found that it is one no more."""
        return {"GM_STEP": "tree", **({"GM_YOUNG": "yes"} if self._may_be_young else {})}

    async def _whole(self, place: Place, environment: dict[str, str], answer: _Answer) -> Snapshot:
        paths = [link.path for link in text.new_gitlinks(answer.decoded("nested"))]
        paths += text.unborn_repositories(answer.trouble)
        if not paths:
            return Snapshot(answer.value("tree"), answer.pack(place), answer.trouble)
        tree, trouble, nested = await self._with_nested(place, environment, answer, paths)
        final = await self._snapshot_step(place, {**environment, "GM_STEP": "pack", "GM_TREE": tree})
        return Snapshot(tree, final.pack(place), text.other_trouble(trouble), tuple(nested))

    def took(self, snapshot: Snapshot, tree: str) -> None:
        """The snapshot is in the vault, its edits as this tree: the next one may start from there."""
        if snapshot.is_still:
            return
        self._marked = (snapshot.mark, tree)
        self._still = (b"" if snapshot.trouble or snapshot.nested else snapshot.tree_marks, tree)

    async def _with_nested(
        self, place: Place, environment: dict[str, str], answer: _Answer, paths: list[bytes]
    ) -> tuple[str, str, list[bytes]]:
        """The tree with the files of the repositories inside it, which git itself records as a mere name."""
        tree, trouble = answer.value("tree"), answer.trouble
        done: list[bytes] = []
        queue = list(paths)
        while queue and len(done) < _NESTING_LIMIT:
            path = queue.pop(0)
            step = {**environment, "GM_PATH": os.fsdecode(path)}
            inner = await self._snapshot_step(place, {**step, "GM_STEP": "nested"})
            listed = [link.path for link in text.listed_gitlinks(inner.decoded("nested"))]
            queue += [path + b"/" + below for below in listed + text.unborn_repositories(inner.trouble)]
            graft = {**step, "GM_STEP": "graft", "GM_TREE": tree, "GM_SUBTREE": inner.value("tree")}
            tree = (await self._snapshot_step(place, graft)).value("tree")
            trouble += inner.trouble
            done.append(path)
        return tree, trouble, done

    async def history(self, known: str, bases: Sequence[str]) -> History:
        """Branches and stashes, with a pack of what the host lacks. `bases` are commits that the host has.

        A repository that cannot be read is an answer, not an error: the files are captured without it. Where nothing
        has changed since `known` was the answer, git is not asked.
        """
        marks = await self._history_marks()
        seen, last = self._history
        if marks and marks == seen and known == last.state:
            return last
        step = self.history_step(known, bases)
        history = await self.history_of(step, await self._machine.execute(step.command, step.options))
        sure = marks if history.in_place and history.unreadable is None else b""
        self._history = (sure, replace(history, pack=None))
        return history

    async def _history_marks(self) -> bytes:
        observer = await self._machine.observer(self.path)
        return await observer.marks(f"{observer.work_tree}/.git", _HISTORY_FILES) if observer else b""

    def history_step(self, known: str, bases: Sequence[str]) -> Step:
        """The same as a step; `history_of` reads its result."""
        environment = {
            "GM_REPO": self.path,
            "GM_KNOWN": known,
            "GM_BASES": "\n".join(bases),
            "GM_INLINE_BYTES": str(INLINE_PACK_BYTES),
            "GIT_SHALLOW_FILE": "",
        }
        return Step(text.script("history"), _options(environment, None, self._history_limit))

    async def history_of(self, step: Step, result: ExecutionResult) -> History:
        """What a `history_step` came to."""
        place = self._machine
        self._history_limit = _HISTORY_HUNG_LIMIT_S if result.timed_out else _HISTORY_LIMIT_S
        if result.timed_out and result.stdout.startswith("head "):
            # git works there, it only has much to pack.
            result = await place.execute(step.command, step.options.with_(timeout=_CAPTURE_LIMIT_S))
        if result.timed_out or result.exit_code != 0:
            reason = "it took too long" if result.timed_out else result.stderr.strip()
            return History(unreadable=reason or f"exit code {result.exit_code}")
        answer = _Answer(result.stdout)
        head, ref = answer.value("head").split(" ", 1)
        refs = {name: sha for sha, name in (line.split(" ", 1) for line in answer.values("ref"))}
        return History(
            head=None if head == "-" else head,
            head_ref=None if ref == "-" else ref,
            refs=refs,
            state="\n".join(line for line in result.stdout.splitlines() if line.startswith(("head ", "ref "))),
            pack=answer.pack(place),
            sparse=tuple(text.skip_worktree_paths(answer.decoded("sparse"))),
            in_place=not answer.has("sparse") and not answer.has("elsewhere"),
        )

    async def apply_commit(
        self,
        *,
        branch: str,
        sha: str,
        made: Sequence[Content],
        old: str | None,
        index: bytes,
        objects: AsyncIterator[bytes] | None,
        reason: str,
    ) -> str | None:
        """Gives the repository a commit that the vault made. Why it could not be given, or None.

        `made` is the commit and what goes with it, together not much more than INLINE_OBJECT_BYTES; `objects` a pack
        of what else is needed.
        """
        environment = {
            "GM_REPO": self.path,
            "GM_BRANCH": branch,
            "GM_NEW": sha,
            "GM_OLD": old or "",
            "GM_MADE": base64.b64encode(packed(made)).decode(),
            "GM_PACK": await self._send(objects),
            "GM_REASON": reason,
        }
        result = await self._git(self._machine, "apply", environment, stdin=index, timeout=_APPLY_LIMIT_S)
        if result.exit_code == 0:
            return None
        return "it took too long" if result.timed_out else result.stderr.strip() or f"exit code {result.exit_code}"

    async def merge(
        self, *, branch: str, sha: str, objects: AsyncIterator[bytes] | None, identity: GitIdentity
    ) -> PullOutcome:
        """Merges a commit into what is checked out. Raises MergeBlocked, GitError."""
        environment = {
            "GM_REPO": self.path,
            "GM_BRANCH": branch,
            "GM_SHA": sha,
            "GM_PACK": await self._send(objects),
            "GM_REASON": "gitmachine: pull",
            **_identity_environment(identity),
        }
        result = await self._git(self._machine, "merge", environment, timeout=_PROVISION_LIMIT_S)
        if (
            "would be overwritten by merge" in result.stderr
            or "not possible because you have unmerged" in result.stderr
        ):
            raise MergeBlocked(
                f"pull of {branch!r}: changes that are not committed stand in the way; commit(), then pull() again",
                stderr=result.stderr,
            )
        _require(result, f"pull of {branch!r}: git could not merge {sha[:10]}")
        answer = _Answer(result.stdout)
        head = answer.value("head")
        conflicts = [os.fsdecode(path) for path in answer.decoded("conflicts").split(b"\0") if path]
        return PullOutcome(sha=None if head == "-" else head, updated=True, conflicts=tuple(conflicts))

    async def store_stashes(self, shas: Sequence[str]) -> None:
        """Makes these commits the stashes, the oldest first, as far as git takes them for stashes."""
        if shas:
            environment = {"GM_REPO": self.path, "GM_STASHES": "\n".join(shas)}
            await self._git(self._machine, "stashes", environment, timeout=_APPLY_LIMIT_S)

    async def keep_spare(self, key: str, commit: str, objects: str) -> None:
        """Has the machine's provider prepare a checkout of `commit` for the next session."""
        environment = {
            **text.machine_environment(),
            "GM_COMMIT": commit,
            "GM_ALTERNATES": f"{objects}\n",
        }
        await self._machine.keep_spare(key, text.script("spare"), ExecuteOptions(env=environment))

    async def _vantage(self) -> tuple[Place, dict[str, str]]:
        """Where the working tree is looked at from, and what the snapshot script has to know there."""
        observer = await self._machine.observer(self.path)
        place: Place = observer or self._machine
        objects = observer.objects if observer else f"{self.path}/.git/objects"
        environment = {
            "GM_GIT_DIR": observer.git_dir if observer else await self.shadow(),
            "GM_WORK_TREE": observer.work_tree if observer else self.path,
            "GM_ALTERNATES": f"{objects}\n" if objects else "",
            "GM_INLINE_BYTES": str(INLINE_PACK_BYTES),
        }
        return place, environment

    async def shadow(self) -> str:
        """The git directory in the machine that snapshots are made in, where there is no observer."""
        return f"{await self._machine.home()}/.gitmachine/shadow.git"

    async def _snapshot_step(self, place: Place, environment: Mapping[str, str]) -> _Answer:
        options = _options(environment, None, _CAPTURE_LIMIT_S)
        return self._snapshot_answer(await place.execute(_snapshot_script(environment), options))

    def _snapshot_answer(self, result: ExecutionResult) -> _Answer:
        if result.timed_out or result.exit_code != 0:
            raise CaptureFailed(
                f"the files at {self.path} could not be brought out of machine {self._machine.id}, which is kept: "
                "look at it with run(), mend the cause and try again",
                exit_code=result.exit_code,
                stderr=result.stderr,
            )
        return _Answer(result.stdout)

    async def _send(self, pack: AsyncIterator[bytes] | None) -> str:
        if pack is None:
            return ""
        path = f"{await self._machine.home()}/.gitmachine/in.pack"
        await self._machine.write_bytes(path, pack)
        return path

    async def _git(
        self,
        place: Place,
        script: str,
        environment: Mapping[str, str],
        *,
        stdin: bytes | None = None,
        timeout: float,
    ) -> ExecutionResult:
        return await place.execute(text.script(script), _options(environment, stdin, timeout))


class _Answer:
    """What one of the scripts printed: a key and a value a line."""

    def __init__(self, output: str) -> None:
        self._lines = [line.partition(" ") for line in output.splitlines()]

    def values(self, key: str) -> list[str]:
        return [value for name, _, value in self._lines if name == key]

    def value(self, key: str) -> str:
        found = self.values(key)
        if not found:
            raise CaptureFailed(f"git in the machine answered without {key!r}", stderr=repr(self._lines[:5]))
        return found[0]

    def has(self, key: str) -> bool:
        return any(name == key for name, _, _ in self._lines)

    def edits(self) -> Edits:
        """What the script said of few changes. Raises CaptureFailed."""
        files: dict[bytes, tuple[str, str] | None] = {os.fsencode(path): None for path in self.values("gone")}
        for entry in self.values("entry"):
            head, _, path = entry.partition("\t")
            mode, _, rest = head.partition(" ")
            files[os.fsencode(path)] = (mode, rest.partition(" ")[0])
        return Edits(files, loose.blobs_in(self.decoded("blobs")))

    def decoded(self, key: str) -> bytes:
        try:
            return base64.b64decode("".join(self.values(key)[:1]), validate=True)
        except binascii.Error as error:
            raise CaptureFailed(f"git in the machine answered with a broken {key!r}") from error

    @property
    def trouble(self) -> str:
        return self.decoded("trouble").decode("utf-8", "surrogateescape")

    def pack(self, place: Place) -> Pack:
        """The pack that was sent along, or left in a file from which it is fetched as it is read."""
        if self.values("pack"):
            return self.decoded("pack")
        for path in self.values("packfile"):
            return place.read_chunks(path)
        return None


def _snapshot_script(environment: Mapping[str, str]) -> str:
    return (text.script("young") if "GM_YOUNG" in environment else "") + text.script("snapshot")


def _asked(have: str, bases: Sequence[str], *, adopt: bool) -> dict[str, str]:
    """What a snapshot from within the machine is told: its answer is always a whole tree."""
    return {
        "GM_HAVE": have,
        "GM_BASES": " ".join(bases),
        "GM_ADOPT_INDEX": "yes" if adopt else "",
        "GM_FEW": "",
        "GM_BLOB_BYTES": str(_EDIT_BYTES),
        "GM_MARK": have,
        "GM_NEXT": "",
    }


def _options(environment: Mapping[str, str], stdin: bytes | None, timeout: float) -> ExecuteOptions:
    return ExecuteOptions(
        cwd="/",
        env={**text.machine_environment(), **environment},
        stdin=stdin,
        timeout=timeout,
        max_output_bytes=None,
    )


def _repository_config(plan: Provision) -> str:
    sections: dict[str, dict[str, str]] = {
        "core": {
            "repositoryformatversion": "0",
            "filemode": "true",
            "bare": "false",
            "logallrefupdates": "true",
        },
        "user": {"name": plan.identity.name, "email": plan.identity.email},
    }
    if plan.url:
        sections["remote.origin"] = {"url": plan.url, "fetch": "+refs/heads/*:refs/remotes/origin/*"}
        sections[f"branch.{plan.branch}"] = {"remote": "origin", "merge": f"refs/heads/{plan.branch}"}
    return text.config_file(sections)


def _identity_environment(identity: GitIdentity) -> dict[str, str]:
    return {
        "GIT_AUTHOR_NAME": identity.name,
        "GIT_AUTHOR_EMAIL": identity.email,
        "GIT_COMMITTER_NAME": identity.name,
        "GIT_COMMITTER_EMAIL": identity.email,
    }


def _require(result: ExecutionResult, message: str) -> None:
    if result.timed_out:
        raise GitError(f"{message}: it took longer than allowed", exit_code=result.exit_code)
    if result.exit_code != 0:
        raise GitError(message, exit_code=result.exit_code, stderr=result.stderr)
