"""A plain model of a session's files, and a session that is driven through the same steps."""

from __future__ import annotations

import hashlib
import os
import posixpath
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import strategies as st

from gitmachine import GitMachine, LocalMachine, Machine
from gitmachine import settings as environment
from gitmachine.machines.local.layout import Layout
from tests import leaks
from tests.providers.plain import PlainMachine
from tests.support.git_server import git_bytes

Tree = dict[str, tuple[str, str]]
"""Kind (file, run, link) and content by path; a name's bytes that are no text as surrogates."""
Step = tuple[object, ...]

MACHINES: dict[str, Callable[[], Machine]] = {"plain": PlainMachine, "local": LocalMachine}

_NAMES = [
    "a",
    "b",
    "d/a",
    "d/b",
    "d/e/c",
    "b/x",
    "it's",
    "-n",
    "sp ace",
    "new\nline",
    ".hidden/f",
    "ünï",
    "\udce9t\udce9",
]
_MODES = {"file": "100644", "run": "100755", "link": "120000"}
_LEAVE = "git add -A; git commit -qm leave --allow-empty"

NAMES = st.sampled_from(_NAMES)
PLACES = st.sampled_from([*_NAMES, "d", "d/e"])
NUMBERS = st.integers(0, 30)
WRITES = st.tuples(
    st.just("write"), NAMES, st.sampled_from(["one", "two", "three", ""]), st.sampled_from(["file", "run", "link"])
)
CHANGES = st.one_of(
    st.tuples(st.just("remove"), PLACES),
    st.tuples(st.just("rename"), PLACES, PLACES),
    st.tuples(st.just("chmod"), NAMES),
)
GIT = st.sampled_from([("commit",), ("stage",), ("save",), ("detach",), ("back",), ("stash",), ("break",), ("lose",)])
BRANCHES = st.tuples(st.sampled_from(["keep", "switch"]), st.integers(0, 1))
PAST = st.one_of(st.tuples(st.just("rewind"), NUMBERS), st.tuples(st.just("fork"), NUMBERS))
STEPS = st.lists(st.one_of(WRITES, WRITES, CHANGES, GIT, BRANCHES, PAST), min_size=4, max_size=12)


class Model:
    """A session, and the files that it should have: now, on each branch, and at each checkpoint."""

    def __init__(self, gm: GitMachine, make: Callable[[], Machine]) -> None:
        self.gm = gm
        self.make = make
        self.tree: Tree = {}
        self.then: dict[int, Tree] = {0: {}}
        self.branches: dict[int, Tree] = {}
        self.forks = 0

    async def follow(self, steps: list[Step]) -> None:
        """Takes each step, and compares after it; at the end all checkpoints and the chain."""
        for name, *arguments in steps:
            await getattr(self, f"do_{name}")(*arguments)
            assert on_disk(self.gm) == self.tree
        await self.check_history()

    async def check_history(self) -> None:
        """Every checkpoint has the files of its time, as plain git reads them from the vault."""
        checkpoints = {entry.number: str(entry.checkpoint) for entry in await self.gm.history()}
        for number in self.then.keys() - {0}:
            assert in_vault(self.gm, checkpoints[number]) == as_git_has(self.then[number]), number
        assert (await self.gm.verify()).ok

    # --- files ----------------------------------------------------------------------------------------------

    async def do_write(self, name: str, content: str, kind: str) -> None:
        self._clear(name)
        content = content or ("nowhere" if kind == "link" else "")
        self.tree[name] = (kind, content)
        target, text = word(name), shlex.quote(content)
        make = f"ln -s {text} {target}" if kind == "link" else f"printf %s {text} > {target}"
        more = f"; chmod +x {target}" if kind == "run" else ""
        await self._run(f"{room_for(name)}; {make}{more}")

    async def do_remove(self, name: str) -> None:
        self.tree = {p: v for p, v in self.tree.items() if not _is_below(p, name)}
        await self._run(f"rm -rf {word(name)}")

    async def do_rename(self, old: str, new: str) -> None:
        moved = {new + p.removeprefix(old): v for p, v in self.tree.items() if _is_below(p, old)}
        if moved and not _is_below(old, new) and not _is_below(new, old):
            self.tree = {p: v for p, v in self.tree.items() if not _is_below(p, old)}
            self._clear(new)
            self.tree |= moved
            await self._run(f"{room_for(new)}; mv {word(old)} {word(new)}")

    async def do_chmod(self, name: str) -> None:
        kind, content = self.tree.get(name, ("", ""))
        if kind in ("file", "run"):
            self.tree[name] = ("file" if kind == "run" else "run", content)
            await self._run(f"chmod {'-x' if kind == 'run' else '+x'} {word(name)}")

    # --- git, in the machine and ours -----------------------------------------------------------------------

    async def do_commit(self) -> None:
        await self._run("git add -A && git commit -qm theirs --allow-empty")

    async def do_stage(self) -> None:
        await self._run("git add -A")

    async def do_detach(self) -> None:
        await self._run(f"{_LEAVE}; git checkout -q --detach")

    async def do_back(self) -> None:
        await self._run(f"{_LEAVE}; git symbolic-ref HEAD refs/heads/s")

    async def do_keep(self, number: int) -> None:
        self.branches[number] = dict(self.tree)
        await self._run(f"{_LEAVE}; git checkout -q --detach; git branch -f kept-{number}")

    async def do_switch(self, number: int) -> None:
        if number in self.branches:
            self.tree = dict(self.branches[number])
            await self._run(f"{_LEAVE}; git checkout -q --detach kept-{number}")

    async def do_stash(self) -> None:
        await self._run("git stash -q --include-untracked; git stash apply -q --index")

    async def do_break(self) -> None:
        await self._run("rm -f .git/index")

    async def do_save(self) -> None:
        await self.gm.commit("ours")

    # --- the past -------------------------------------------------------------------------------------------

    async def do_rewind(self, number: int) -> None:
        to = self._some(number)
        entry = (await self.gm.rewind(to)).entry
        self.tree = dict(self.then[to])
        self.then[entry.number] = dict(self.tree)

    async def do_fork(self, number: int) -> None:
        self.forks += 1
        at = self._some(number)
        fork = await self.gm.fork(f"fork-{self.forks}", at)
        try:
            model = Model(fork, self.make)
            model.tree = dict(self.then[at])
            assert on_disk(fork) == model.tree
            model.then = {(await fork.history())[-1].number: dict(model.tree)}
            await model.do_write("of the fork", "only", "file")
            await model.check_history()
        finally:
            await fork.machine.stop()

    async def do_lose(self) -> None:
        """The machine is gone without a trace; what it had in branches is in the new one."""
        await self.gm.machine.stop()
        self.gm = await GitMachine.reopen(self.gm.record.id, machine=self.make())
        self.then[(await self.gm.history())[-1].number] = dict(self.tree)

    def _some(self, number: int) -> int:
        known = sorted(self.then)
        return known[number % len(known)]

    def _clear(self, name: str) -> None:
        self.tree = {p: v for p, v in self.tree.items() if not _is_below(p, name) and not _is_below(name, p)}

    async def _run(self, command: str) -> None:
        await self.gm.run(command)
        self.then[(await self.gm.history(1))[-1].number] = dict(self.tree)


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def word(name: str) -> str:
    """The name as a word for a shell, in ASCII."""
    if name.isascii():
        return shlex.quote(f"./{name}")
    return "\"$(printf '%b' '" + "".join(f"\\0{byte:o}" for byte in b"./" + os.fsencode(name)) + "')\""


def room_for(name: str) -> str:
    """Commands that make `name` a path where something can be put."""
    parts = name.split("/")
    above = [word("/".join(parts[:n])) for n in range(1, len(parts))]
    clear = "".join(f"[ -d {part} ] && [ ! -L {part} ] || rm -f {part}; " for part in above)
    return f"{clear}rm -rf {word(name)}; mkdir -p {word(posixpath.dirname(name) or '.')}"


def as_git_has(tree: Tree) -> dict[str, tuple[str, str]]:
    """Mode and object by path."""
    return {path: (_MODES[kind], _blob(content.encode())) for path, (kind, content) in tree.items()}


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()


def in_vault(gm: GitMachine, commit: str) -> dict[str, tuple[str, str]]:
    """The same, of a commit."""
    vault = environment.load().vaults / gm.record.vault / "sessions.git"
    lines = git_bytes("ls-tree", "-r", "-z", commit, cwd=vault).split(b"\0")
    rows = [line.partition(b"\t") for line in lines if line]
    return {os.fsdecode(path): _mode_and_object(head.decode()) for head, _, path in rows}


def _mode_and_object(head: str) -> tuple[str, str]:
    mode, _, sha = head.split(" ")
    return mode, sha


def on_disk(gm: GitMachine) -> Tree:
    """The files as they are in the machine, whose directory is on this host."""
    local = isinstance(gm.machine, LocalMachine)
    root = str(Layout.of(environment.load(), str(gm.id)).home / "repo") if local else gm.path
    return dict(_found(root))


def _found(root: str) -> Iterator[tuple[str, tuple[str, str]]]:
    for directory, directories, names in os.walk(root):
        if directory == root:
            directories.remove(".git")
        for name in [*names, *(each for each in directories if os.path.islink(os.path.join(directory, each)))]:
            path = os.path.join(directory, name)
            shown = os.path.relpath(path, root)
            if os.path.islink(path):
                yield shown, ("link", os.readlink(path))
            else:
                yield shown, ("run" if os.stat(path).st_mode & 0o100 else "file", Path(path).read_text())


@contextmanager
def state_of_its_own() -> Iterator[None]:
    path = Path(tempfile.mkdtemp(prefix="state-"))
    path.chmod(0o711)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GITMACHINE_HOME", str(path))
        try:
            yield
        finally:
            leaks.wait_for_builders(path)
            leaks.assert_nothing_runs(str(path))
            leaks.remove_tree(path)


async def follow(steps: list[Step], make: Callable[[], Machine]) -> None:
    """A session on a machine that `make` gives, through all steps."""
    gm = GitMachine(make(), session="s")
    await gm.start()
    model = Model(gm, make)
    try:
        await model.follow(steps)
    finally:
        await model.gm.machine.stop()
