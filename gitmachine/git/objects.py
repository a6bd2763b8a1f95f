"""A bare repository of the host's as a store of objects: read, compared, composed and packed by name.

No work tree, no index but temporary ones, and nobody's configuration or attributes: what a repository says
about itself has no say here.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from gitmachine.errors import ConfigurationError, VaultError
from gitmachine.git import loose
from gitmachine.git.environment import EMPTY_TREE
from gitmachine.git.grafting import Edits, Graft, Ungraftable, directories, graft
from gitmachine.git.host import HostGit
from gitmachine.git.parse import SHA, Change, Commit, changes_of, compose_commit, kinds_of, refs_of
from gitmachine.types import GitIdentity

Content = tuple[str, bytes]
"""An object's kind and content."""

_REMEMBERED_CHANGES = 4
_REMEMBERED_TREE_BYTES = 16 * 1024 * 1024


class ObjectStore:
    """What can be done with objects by their names. Names of objects are 40 hex digits, never expressions."""

    def __init__(self, git: HostGit, store: Path) -> None:
        self._git = git
        self.store = store
        self._unflushed: list[str] = []
        self._changes: dict[tuple[str, str], list[Change]] = {}
        self._tree_contents: dict[str, bytes] = {}

    async def tree_of(self, commit: str) -> str:
        """The tree of a commit, or of a tag; a tree is its own."""
        answer = await self._git.run("rev-parse", "--verify", f"{_sha(commit)}^{{tree}}", git_dir=self.store)
        return answer.text

    async def kinds(self, shas: Iterable[str]) -> dict[str, str | None]:
        """Each object's type: commit, tree, blob, tag; None for one that is not there."""
        names = "".join(f"{_sha(sha)}\n" for sha in shas)
        if not names:
            return {}
        answer = await self._git.run("cat-file", "--batch-check", git_dir=self.store, stdin=names.encode())
        return kinds_of(answer.stdout)

    async def sizes(self, shas: Iterable[str]) -> dict[str, int]:
        """Each object's size in bytes; those that are not there are left out."""
        names = "".join(f"{_sha(sha)}\n" for sha in shas)
        if not names:
            return {}
        form = "--batch-check=%(objectname) %(objectsize)"
        answer = await self._git.run("cat-file", form, git_dir=self.store, stdin=names.encode())
        rows = (line.split(" ") for line in answer.lines() if not line.endswith("missing"))
        return {sha: int(size) for sha, size in rows}

    async def blobs(self, shas: Sequence[str]) -> dict[str, bytes]:
        """The content of blobs, read at once: ask for what fits in memory, and no more."""
        if not shas:
            return {}
        names = "".join(f"{_sha(sha)}\n" for sha in shas)
        answer = await self._git.run("cat-file", "--batch", git_dir=self.store, stdin=names.encode())
        return _contents(answer.stdout)

    async def is_ancestor(self, old: str, new: str) -> bool:
        """Every commit of `old` is one of `new`'s; also when they are the same."""
        answer = await self._git.run(
            "merge-base", "--is-ancestor", _sha(old), _sha(new), git_dir=self.store, check=False
        )
        if answer.exit_code not in (0, 1):
            raise VaultError(
                f"{old[:12]} and {new[:12]} cannot be compared in the vault",
                argv=answer.argv, exit_code=answer.exit_code, stderr=answer.stderr,
            )  # fmt: skip
        return answer.exit_code == 0

    async def write_commit(
        self, tree: str, parents: Sequence[str], identity: GitIdentity, message: str, when: datetime
    ) -> Commit:
        """Writes a commit. The same input gives the same commit in any repository.

        Raises: ConfigurationError for a message or identity that git cannot store.
        """
        raw = compose_commit(_sha(tree), [_sha(parent) for parent in parents], identity, message, when)
        (name,) = await self.write_objects([("commit", raw)])
        return Commit(name, raw)

    async def grafted(self, root: str, edits: Edits) -> Graft:
        """The tree that `root` becomes by the edits, not yet written. Raises Ungraftable.

        Whatever it names is there: in the store, or among the edits' own contents.
        """
        needed = {entry[1] for entry in edits.files.values() if entry is not None} - edits.blobs.keys()
        if any(kind != "blob" for kind in (await self.kinds(needed)).values()):
            raise Ungraftable("not all contents have come along")
        try:
            made = graft(root, self._tree_contents, edits)
        except Ungraftable:
            await self._remember_trees(root, edits)
            made = graft(root, self._tree_contents, edits)
        self._remember_contents(made.objects)
        self.remember_changes(root, made.tree, made.changes)
        return made

    async def _remember_trees(self, root: str, edits: Edits) -> None:
        paths = [path.decode("ascii", "replace") for path in directories(edits)]
        found = await self.objects([_sha(root), *(f"{root}:{path}" for path in paths)])
        self._remember_contents({item[0]: item[2] for item in found if item is not None and item[1] == "tree"})

    def _remember_contents(self, trees: Mapping[str, bytes]) -> None:
        if sum(map(len, self._tree_contents.values())) > _REMEMBERED_TREE_BYTES:
            self._tree_contents.clear()
        self._tree_contents |= trees

    async def write_objects(self, contents: Sequence[tuple[str, bytes]], *, durable: bool = True) -> list[str]:
        """Writes objects, given as (kind, content), with `durable` to disk; their names. Raises: VaultError.

        Those that were written without are flushed by the next that is written with.
        """
        directory = self.store / "objects"
        unflushed = self._take_unflushed() if durable else []
        try:
            names = await asyncio.to_thread(loose.write, directory, contents, durable=durable)
            if unflushed:
                await asyncio.to_thread(loose.flush, directory, unflushed)
        except OSError as error:
            self._unflushed += unflushed
            raise self._unwritable(error) from error
        if not durable:
            self._unflushed += names
        return names

    def _unwritable(self, error: OSError) -> VaultError:
        return VaultError(f"the vault {self.store.parent} cannot be written: {error.strerror}; mend that and try again")

    def _take_unflushed(self) -> list[str]:
        taken, self._unflushed = self._unflushed, []
        return taken

    async def contents(self, expressions: Sequence[str]) -> list[bytes | None]:
        """The content of each object that an expression such as `SHA:path` names; None where there is none."""
        return [found[2] if found else None for found in await self.objects(expressions)]

    async def objects(self, expressions: Sequence[str]) -> list[tuple[str, str, bytes] | None]:
        """The same, with name and kind before the content."""
        if not expressions:
            return []
        asked = "".join(f"{expression}\n" for expression in expressions).encode()
        answer = await self._git.run("cat-file", "--batch", git_dir=self.store, stdin=asked)
        return list(_answers(answer.stdout))

    async def kinds_at(self, commit: str, path: bytes) -> tuple[str, str] | None:
        """Mode and object of a path in a commit; None when it is not there."""
        answer = await self._git.run(
            "ls-tree", "-z", "--full-tree", _sha(commit), "--", os.fsdecode(path), git_dir=self.store
        )
        head, _, name = answer.stdout.partition(b"\0")[0].partition(b"\t")
        if name != path:
            return None
        mode, _, sha = head.decode().split(" ")
        return mode, sha

    async def counted(self, old: str, new: str) -> tuple[int, int, int]:
        """Between two trees: files that differ, lines added, lines taken away. A binary file has no lines."""
        answer = await self._git.run(
            "diff", "--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", _sha(old), _sha(new),
            git_dir=self.store,
        )  # fmt: skip
        rows = [row.split(b"\t") for row in answer.stdout.split(b"\0") if row]
        added = sum(int(row[0]) for row in rows if row[0] != b"-")
        return len(rows), added, sum(int(row[1]) for row in rows if row[1] != b"-")

    async def raw_commit(self, sha: str) -> bytes:
        """The bytes of a commit object. Raises: VaultError when there is no such commit."""
        return (await self._git.run("cat-file", "commit", _sha(sha), git_dir=self.store)).stdout

    async def changes(self, old: str | None, new: str) -> list[Change]:
        """The paths that differ between two commits or trees, without renames; `old` None is nothing at all."""
        pair = (_sha(old or EMPTY_TREE), _sha(new))
        if pair not in self._changes:
            answer = await self._git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", *pair, git_dir=self.store)
            self.remember_changes(*pair, changes_of(answer.stdout))
        return self._changes[pair]

    def remember_changes(self, old: str, new: str, changes: list[Change]) -> None:
        """What differs between two objects. A commit asks three times for the same, and objects never change."""
        while len(self._changes) >= _REMEMBERED_CHANGES:
            del self._changes[next(iter(self._changes))]
        self._changes[old, new] = changes

    async def tree_with(self, tree: str, entries: Mapping[bytes, tuple[str, str] | None]) -> str:
        """A tree like `tree` with some paths replaced by (mode, object) or, for None, removed."""
        if not entries:
            return tree
        lines = [_index_line(path, entry) for path, entry in sorted(entries.items(), key=lambda item: bool(item[1]))]
        with tempfile.TemporaryDirectory(prefix="gm-index-", dir=self.store, ignore_cleanup_errors=True) as directory:
            env = {"GIT_INDEX_FILE": os.path.join(directory, "index")}
            await self._git.run("read-tree", _sha(tree), git_dir=self.store, env=env)
            await self._git.run(
                "update-index", "-z", "--index-info", git_dir=self.store, env=env, stdin=b"".join(lines)
            )
            return (await self._git.run("write-tree", git_dir=self.store, env=env)).text

    async def diff(self, old: str | None, new: str, *, paths: Sequence[str] = (), stat: bool = False) -> str:
        """A unified diff, or with `stat` the count of lines by file. `paths` are literal: no patterns.

        Renames are found, binary files noted and not dumped; what is not UTF-8 is replaced.
        """
        form = ["--stat=120"] if stat else ["--patch"]
        answer = await self._git.run(
            "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", *form,
            _sha(old or EMPTY_TREE), _sha(new), "--", *paths, git_dir=self.store,
        )  # fmt: skip
        return answer.stdout.decode("utf-8", "replace")

    async def pack(self, tips: Sequence[str], *, without: Sequence[str] = ()) -> AsyncIterator[bytes]:
        """A pack of everything the tips reach, complete for someone who has the commits `without`."""
        wanted = [_sha(tip) for tip in tips] + [f"^{_sha(base)}" for base in without]
        async for chunk in self._git.stream(
            "pack-objects", "--revs", "--stdout", "--delta-base-offset", "-q",
            git_dir=self.store, stdin="".join(f"{line}\n" for line in wanted).encode(),
        ):  # fmt: skip
            yield chunk

    async def pack_of(self, shas: Sequence[str]) -> AsyncIterator[bytes]:
        """A pack of just these objects."""
        async for chunk in self._git.stream(
            "pack-objects", "--stdout", "--delta-base-offset", "-q",
            git_dir=self.store, stdin="".join(f"{_sha(sha)}\n" for sha in shas).encode(),
        ):  # fmt: skip
            yield chunk

    async def _refs(self, repository: Path, *prefixes: str) -> dict[str, str]:
        answer = await self._git.run("for-each-ref", "--format=%(objectname) %(refname)", *prefixes, git_dir=repository)
        return refs_of(answer.stdout)


def _sha(name: str) -> str:
    if not SHA.fullmatch(name):
        raise ConfigurationError(f"{name[:80]!r} is not the full name of an object (40 hex digits)")
    return name


def _index_line(path: bytes, entry: tuple[str, str] | None) -> bytes:
    """One line of `update-index --index-info -z`; mode 0 removes the path."""
    if b"\0" in path:
        raise ConfigurationError(f"{path!r} is not a path")
    mode, sha = entry or ("0", "0" * 40)
    return f"{mode} {sha}\t".encode() + path + b"\0"


def _contents(answer: bytes) -> dict[str, bytes]:
    """By name what `cat-file --batch` answered."""
    return {found[0]: found[2] for found in _answers(answer) if found is not None}


def _answers(answer: bytes) -> Iterator[tuple[str, str, bytes] | None]:
    """What `cat-file --batch` answered, question by question: name, kind and content."""
    position = 0
    while position < len(answer):
        end = answer.index(b"\n", position)
        head = answer[position:end].decode("utf-8", "replace").rsplit(" ", 2)
        position = end + 1
        if head[-1] == "missing":
            yield None
            continue
        size = int(head[2])
        yield head[0], head[1], answer[position : position + size]
        position += size + 1
