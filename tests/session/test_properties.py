"""Whatever is done to a working tree, its checkpoints, rewinds and forks have exactly the files of a plain model."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gitmachine import GitMachine
from tests import leaks
from tests.providers.plain import PlainMachine
from tests.support.git_server import git_bytes

Tree = dict[str, tuple[str, str]]
"""Kind (file, run, link) and content by path."""

NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/c", "b/x", "it's", "-n", "sp ace", "new\nline", ".hidden/f"])
WRITES = st.tuples(
    st.just("write"), NAMES, st.sampled_from(["one", "two", "three", ""]), st.sampled_from(["file", "run", "link"])
)
REMOVES = st.tuples(st.just("remove"), NAMES)
GIT = st.sampled_from([("commit",), ("stage",), ("branch",), ("back",), ("detach",), ("save",), ("stash",), ("break",)])
STEPS = st.lists(
    st.one_of(WRITES, WRITES, REMOVES, GIT, st.tuples(st.just("rewind"), st.integers(0, 30)), st.just(("fork",))),
    min_size=3,
    max_size=9,
)


class Model:
    """A session, and the files that it should have: now, and at each checkpoint."""

    def __init__(self, gm: GitMachine) -> None:
        self.gm = gm
        self.tree: Tree = {}
        self.then: dict[int, Tree] = {0: {}}
        self.forks = 0

    async def write(self, name: str, content: str, kind: str) -> None:
        for path in list(self.tree):
            if path == name or path.startswith(f"{name}/") or name.startswith(f"{path}/"):
                del self.tree[path]
        content = content or ("nowhere" if kind == "link" else "")
        self.tree[name] = (kind, content)
        target, text = shlex.quote(f"./{name}"), shlex.quote(content)
        above = [shlex.quote(f"./{part}") for part in _above(name)]
        clear = "".join(f"[ -d {part} ] && [ ! -L {part} ] || rm -f {part}; " for part in above)
        make = f"ln -s {text} {target}" if kind == "link" else f"printf %s {text} > {target}"
        more = f"; chmod +x {target}" if kind == "run" else ""
        await self.run(f'{clear}rm -rf {target}; mkdir -p "$(dirname {target})"; {make}{more}')

    async def remove(self, name: str) -> None:
        self.tree = {p: v for p, v in self.tree.items() if p != name and not p.startswith(f"{name}/")}
        await self.run(f"rm -rf {shlex.quote(f'./{name}')}")

    async def commit(self) -> None:
        await self.run("git add -A && git commit -qm theirs --allow-empty")

    async def stage(self) -> None:
        await self.run("git add -A")

    async def branch(self) -> None:
        await self.run("git add -A; git commit -qm side --allow-empty; git checkout -q -B side")

    async def back(self) -> None:
        await self.run(
            "git add -A; git commit -qm back --allow-empty; git branch -f kept; git symbolic-ref HEAD refs/heads/s"
        )

    async def detach(self) -> None:
        await self.run("git checkout -q --detach")

    async def save(self) -> None:
        await self.gm.commit("ours")

    async def stash(self) -> None:
        await self.run("git stash -q --include-untracked; git stash apply -q --index")

    async def break_(self) -> None:
        await self.run("rm -f .git/index")

    async def rewind(self, number: int) -> None:
        known = sorted(self.then)
        to = known[number % len(known)]
        entry = (await self.gm.rewind(to)).entry
        self.tree = dict(self.then[to])
        self.then[entry.number] = dict(self.tree)

    async def fork(self) -> None:
        self.forks += 1
        fork = await self.gm.fork(f"fork-{self.forks}")
        try:
            assert await tree_of(fork) == self.tree
        finally:
            await fork.stop(push=False)

    async def run(self, command: str) -> None:
        await self.gm.run(command)
        self.then[(await self.gm.history())[-1].number] = dict(self.tree)


def _above(name: str) -> Iterator[str]:
    parts = name.split("/")[:-1]
    return ("/".join(parts[: n + 1]) for n in range(len(parts)))


async def tree_of(gm: GitMachine, number: int = -1) -> Tree:
    """The files of a checkpoint, as plain git reads them from the vault."""
    from gitmachine import settings as environment

    chain = await gm.history()
    entry = chain[-1] if number < 0 else next(entry for entry in chain if entry.number == number)
    vault = environment.load().vaults / gm.record.vault / "sessions.git"
    listing = git_bytes("ls-tree", "-r", "-z", str(entry.checkpoint), cwd=vault)
    found: Tree = {}
    kinds = {"100644": "file", "100755": "run", "120000": "link"}
    for line in filter(None, listing.split(b"\0")):
        head, _, path = line.partition(b"\t")
        mode, _, sha = head.decode().split(" ")
        found[path.decode()] = (kinds[mode], git_bytes("cat-file", "blob", sha, cwd=vault).decode())
    return found


async def on_disk(gm: GitMachine) -> Tree:
    """The files as they are in the machine, which is a directory of ours here."""
    root = Path(gm.path)
    found: Tree = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if name.startswith(".git/") or name == ".git":
            continue
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_file():
            found[name] = ("run" if path.stat().st_mode & 0o100 else "file", path.read_text())
    return found


@contextmanager
def state_of_its_own() -> Iterator[None]:
    path = Path(tempfile.mkdtemp(prefix="state-"))
    path.chmod(0o711)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GITMACHINE_HOME", str(path))
        try:
            yield
        finally:
            leaks.remove_tree(path)


async def follow(steps: list[tuple[object, ...]]) -> None:
    gm = GitMachine(PlainMachine(), session="s")
    await gm.start()
    try:
        model = Model(gm)
        for name, *arguments in steps:
            await getattr(model, "break_" if name == "break" else str(name))(*arguments)
            assert await on_disk(gm) == model.tree
        for number in sorted(model.then)[1:]:
            assert await tree_of(gm, number) == model.then[number]
        assert (await gm.verify()).ok
    finally:
        await gm.machine.stop()


@pytest.mark.timeout(300)
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(STEPS)
def test_every_checkpoint_rewind_and_fork_has_the_files_of_the_model(steps: list[tuple[object, ...]]) -> None:
    with state_of_its_own():
        asyncio.run(follow(steps))
