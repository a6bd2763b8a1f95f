"""Trees made on the host are the trees that git makes."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from gitmachine.git import loose
from gitmachine.git.environment import EMPTY_TREE
from gitmachine.git.grafting import Edits, Ungraftable, directories, graft
from gitmachine.git.packing import packed
from gitmachine.git.parse import changes_of

NAMES = ["a", "a.b", "a-b", "b", "Dir", "lib", "lib.py", "lib0", "z z", "x@y=1,2+3"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path)], check=True)
    return tmp_path


def git(repository: Path, *args: str, stdin: bytes = b"") -> bytes:
    environment = {**os.environ, "GIT_DIR": str(repository), "GIT_INDEX_FILE": str(repository / "index")}
    return subprocess.run(["git", *args], env=environment, input=stdin, check=True, capture_output=True).stdout


def tree_by_git(repository: Path, files: dict[str, tuple[str, str]]) -> str:
    (repository / "index").unlink(missing_ok=True)
    lines = "".join(f"{mode} {sha}\t{path}\n" for path, (mode, sha) in files.items())
    git(repository, "update-index", "--add", "--index-info", stdin=lines.encode())
    return git(repository, "write-tree").decode().strip()


def trees_of(repository: Path, root: str, edits: Edits) -> dict[str, bytes]:
    names = [root, *(f"{root}:{path.decode()}" for path in directories(edits))]
    found = {}
    for name in names:
        kind = subprocess.run(["git", "-C", repository, "cat-file", "-t", name], capture_output=True, check=False)
        if kind.stdout.strip() == b"tree":
            found[git(repository, "rev-parse", name).decode().strip()] = git(repository, "cat-file", "tree", name)
    return found


def paths(chance: random.Random) -> list[str]:
    """Names of files such that none is a directory on the way to another."""
    found: list[str] = []
    for _ in range(chance.randint(0, 12)):
        path = "/".join(chance.choices(NAMES, k=chance.randint(1, 3)))
        if not any(path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/") for other in found):
            found.append(path)
    return found


@pytest.mark.parametrize("seed", range(25))
def test_a_graft_is_the_tree_and_the_difference_that_git_makes(repository: Path, seed: int) -> None:
    chance = random.Random(seed)
    blobs = [git(repository, "hash-object", "-w", "--stdin", stdin=bytes([n])).decode().strip() for n in range(4)]

    def content(names: list[str]) -> dict[str, tuple[str, str]]:
        modes = ["100644", "100755", "120000"]
        return {name: (chance.choice(modes), chance.choice(blobs)) for name in names}

    before, after = content(paths(chance)), content(paths(chance))
    old, new = tree_by_git(repository, before), tree_by_git(repository, after)
    files = {path.encode(): after.get(path) for path in before.keys() | after.keys()}
    edits = Edits(files, {})
    made = graft(old, trees_of(repository, old, edits), edits)
    assert made.tree == new
    assert all(loose.object_name("tree", content) == name for name, content in made.objects.items())
    by_git = changes_of(git(repository, "diff-tree", "-r", "-z", "--raw", "--no-renames", old, new))
    assert made.changes == sorted(by_git, key=lambda change: change.path)


@pytest.mark.parametrize(
    "path",
    [
        b".git/config",
        b"a/.GIT/hooks/x",
        b".gitmodules",
        b"a/../b",
        b"./a",
        b"a//b",
        b"/a",
        b"a/",
        b"git~1\n",
        b"\xff",
        b"",
    ],
)
def test_a_name_that_git_has_rules_for_is_left_to_git(path: bytes) -> None:
    with pytest.raises(Ungraftable):
        graft(EMPTY_TREE, {EMPTY_TREE: b""}, Edits({path: ("100644", "1" * 40)}, {}))


def test_edits_that_do_not_fit_the_tree_are_refused(repository: Path) -> None:
    blob = git(repository, "hash-object", "-w", "--stdin", stdin=b"x").decode().strip()
    tree = tree_by_git(repository, {"d/f": ("100644", blob), "g": ("100644", blob)})
    for files in ({b"nothing": None}, {b"d": None}, {b"d": ("100644", blob)}, {b"g/h": ("100644", blob)}):
        edits = Edits(files, {})
        with pytest.raises(Ungraftable):
            graft(tree, trees_of(repository, tree, edits), edits)
    with pytest.raises(Ungraftable, match="not at hand"):
        graft(tree, {}, Edits({b"g": None}, {}))


def test_blobs_come_out_of_object_files_under_the_name_of_their_content(tmp_path: Path) -> None:
    contents = [b"", b"one\n", os.urandom(5000)]
    names = loose.write(tmp_path, [*(("blob", content) for content in contents), ("commit", b"no blob")], durable=False)
    files = b"".join((tmp_path / name[:2] / name[2:]).read_bytes() for name in [names[3], *names[:3]])
    assert loose.blobs_in(files) == dict(zip(names, contents, strict=False))
    assert loose.blobs_in(files[:-7]) == dict(zip(names[:2], contents, strict=False))
    assert loose.blobs_in(b"not an object") == {}


def test_a_pack_made_in_memory_is_one_that_git_takes(repository: Path) -> None:
    objects = [("blob", b"x" * size) for size in (0, 15, 16, 2047, 2048, 300_000)]
    objects.append(("tree", b"100644 f\0" + bytes.fromhex(loose.object_name("blob", b""))))
    git(repository, "unpack-objects", "-q", "--strict", stdin=packed(objects))
    for kind, content in objects:
        assert git(repository, "cat-file", kind, loose.object_name(kind, content)) == content
