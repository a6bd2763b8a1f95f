"""The first looks at a checkout, in the very second in which it was written: git's own times cannot tell them apart."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitmachine.git import text
from tests.support.checkouts import git

FILES = 1_100
TRACKED_AND_IGNORED = "d0/f7.txt"


class Checkout:
    """A working tree of 1,100 files that has just been written, and the snapshots that are made of it."""

    def __init__(self, path: Path, origin: Path) -> None:
        self.path = path
        self.tree = path / "tree"
        self.shadow = path / "shadow.git"
        self.tools = path / "tools"
        self.tools.mkdir()
        self.tree.mkdir()
        self._git("clone", "-q", "--no-checkout", "--shared", str(origin), ".")
        self.head = self._git("rev-parse", "HEAD^{tree}")
        while time.time() % 1 > 0.4:  # else that second is over too soon
            pass
        self._git("reset", "-q", "--hard")
        self.mark = "=mark"
        self.prepare()

    def prepare(self) -> None:
        self._step("prepare", GM_ADOPT_INDEX="yes", GM_NEXT=self.mark)

    def look(self, few: str = "") -> str:
        """What the snapshot says: the tree, or the changed paths when there are few."""
        answer = self._step("tree", GM_FEW=few, GM_MARK=self.mark, GM_NEXT="=next")
        lines = dict(line.partition(" ")[::2] for line in answer.splitlines())
        self.mark = lines.get("tree", "=lost")
        return lines.get("tree", answer)

    def truth(self) -> str:
        """The tree by an index that knows nothing of any file."""
        index = {"GIT_INDEX_FILE": str(self.path / "true.index")}
        self._git("read-tree", "HEAD", **index)
        self._git("add", "-A", **index)
        return self._git("write-tree", **index)

    def loose(self) -> int:
        """How many objects the snapshots have written."""
        return len(list(self.shadow.glob("objects/??/*")))

    @property
    def is_on_the_short_way(self) -> bool:
        return (self.shadow / "gm.fresh").exists()

    def wait_for_a_new_second(self) -> None:
        beginning = int(time.time()) + 1.02  # the clock of files is late by a tick
        while time.time() < beginning:
            pass

    def replace_tool(self, name: str, script: str) -> None:
        tool = self.tools / name
        tool.write_text(f"#!/bin/sh\nPATH={os.environ['PATH']}\n{script}\n")
        tool.chmod(0o755)

    def _git(self, *arguments: str, **environment: str) -> str:
        return self._run(["git", *arguments], environment).strip()

    def _step(self, step: str, **values: str) -> str:
        environment = {
            **text.machine_environment(),
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "GM_STEP": step,
            "GM_YOUNG": "yes",
            "GM_GIT_DIR": str(self.shadow),
            "GM_WORK_TREE": str(self.tree),
            "GM_ALTERNATES": f"{self.tree}/.git/objects\n",
            "GM_HAVE": self.head,
            "GM_BASES": "",
            "GM_BLOB_BYTES": "1000000",
            "GM_INLINE_BYTES": "1000000",
        }
        return self._run(["sh", "-c", text.script("young") + text.script("snapshot")], environment | values)

    def _run(self, argv: list[str], environment: dict[str, str]) -> str:
        environment = {**os.environ, **environment}
        done = subprocess.run(
            argv, cwd=self.tree, env=environment, capture_output=True, text=True, check=True, start_new_session=True
        )
        return done.stdout


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("origin")
    for number in range(FILES):
        file = path / f"d{number // 100}" / f"f{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"number {number:05}\n")
    (path / "d0" / "link").symlink_to("f0.txt")
    git(path, "init", "-q")
    git(path, "add", "-A")
    (path / ".gitignore").write_text(f"/{TRACKED_AND_IGNORED}\n")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "all")
    return path


@pytest.fixture
def checkout(tmp_path: Path, origin: Path) -> Checkout:
    return Checkout(tmp_path, origin)


def in_place(path: Path, content: str = "NUMBER") -> None:
    """As many bytes as before, in the same file."""
    with path.open("r+") as file:
        file.write(content)


def as_old_as_before(path: Path) -> None:
    before = path.stat()
    in_place(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_text(path.read_text().upper())
    other.rename(path)


def a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("f99.txt")


def edit_in_each_way(tree: Path) -> None:
    below = tree / "d0"
    in_place(below / "f1.txt")
    as_old_as_before(below / "f2.txt")
    in_place(tree / TRACKED_AND_IGNORED)
    another_file(below / "f3.txt")
    (below / "f4.txt").chmod(0o755)
    a_link(below / "f5.txt")
    (below / "link").unlink()
    (below / "link").symlink_to("f9.txt")
    (below / "f6.txt").unlink()
    (below / "f8.txt").rename(tree / "d1" / "-n (new)\n.txt")
    (tree / "new").write_text("new")
    (below / "f9.txt").unlink()
    (below / "f9.txt").mkdir()
    another_file(below / "f10.txt")
    in_place(below / "f11.txt")
    os.utime(below / "f11.txt", (2e9, 2e9))


def edit_more_than_the_short_way_is_for(tree: Path) -> None:
    for path in sorted(tree.glob("*/f*.txt")):
        in_place(path)


@pytest.mark.parametrize("edit", [edit_in_each_way, edit_more_than_the_short_way_is_for])
def test_a_change_in_the_second_of_the_checkout_is_seen(checkout: Checkout, edit: Callable[[Path], None]) -> None:
    edit(checkout.tree)
    assert checkout.look() == checkout.truth() != checkout.head


def test_each_of_many_changes_in_one_second_is_seen(checkout: Checkout) -> None:
    for turn in range(6):
        for number in (1, 2, turn + 10):
            in_place(checkout.tree / "d0" / f"f{number}.txt", f"turn {turn}")
        checkout.look(few="20")
        assert checkout.look() == checkout.truth()


def test_what_has_not_changed_is_not_written_again(checkout: Checkout) -> None:
    (checkout.shadow / "objects" / "info" / "alternates").unlink()
    assert checkout.look() == checkout.head
    assert checkout.loose() == 0
    in_place(checkout.tree / "d0" / "f1.txt")
    assert "entry 100644" in checkout.look(few="20")
    assert checkout.loose() == 1


def test_after_that_second_git_is_on_its_own_and_sees_it(checkout: Checkout) -> None:
    checkout.wait_for_a_new_second()
    assert checkout.look() == checkout.head
    assert not checkout.is_on_the_short_way
    for turn in range(3):
        in_place(checkout.tree / "d0" / f"f{turn}.txt", f"turn {turn}")
        assert checkout.look() == checkout.truth()


def test_what_changes_while_git_looks_is_seen_by_the_next(checkout: Checkout) -> None:
    checkout.wait_for_a_new_second()
    edited = checkout.tree / "d0" / "f1.txt"
    in_place(edited, "first")
    edit = f"printf secon | dd of={edited} conv=notrunc status=none"
    in_the_next_second = f'git "$@"; touch -d "1 second" {checkout.shadow}/index'
    checkout.replace_tool(
        "git",
        'case "$*" in '
        + f"""*add*) {in_the_next_second}; {edit} ;;
        write-tree) {in_the_next_second} ;;
        *) exec git "$@" ;; esac""",
    )
    checkout.look()
    assert not checkout.is_on_the_short_way
    (checkout.tools / "git").unlink()
    assert checkout.look() == checkout.truth()


def test_only_for_one_that_has_just_been_written_is_the_clock_of_files_waited_for(checkout: Checkout) -> None:
    waits = checkout.path / "waits"
    checkout.replace_tool("sleep", f'echo >> {waits}; exec sleep "$@"')
    index = checkout.tree / ".git" / "index"
    now = time.time()
    os.utime(index, (now + 60, now + 60))  # however long it takes to get there, the clock is not past it
    checkout.prepare()
    assert waits.read_text() == "\n"
    os.utime(index, (now - 1, now - 1))
    checkout.prepare()
    assert waits.read_text() == "\n"
    in_place(checkout.tree / "d0" / "f1.txt")
    assert checkout.look() == checkout.truth() != checkout.head


def test_where_times_cannot_be_compared_the_clock_of_files_is_waited_for(checkout: Checkout) -> None:
    waits = checkout.path / "waits"
    checkout.replace_tool("sleep", f'echo >> {waits}; exec sleep "$@"')
    checkout.replace_tool("stat", 'case "$*" in *%.9Y*) echo %.9Y; echo %.9Y ;; *) exec stat "$@" ;; esac')
    os.utime(checkout.tree / ".git" / "index", (1e9, 1e9))
    checkout.prepare()
    assert waits.read_text() == "\n"


LACKING = {
    "find": 'case "$*" in *-cnewer*) echo "find: unrecognized: -cnewer" >&2; exit 1 ;; esac; exec find "$@"',
    "sed": 'case "$*" in *-z*) echo "sed: invalid option" >&2; exit 1 ;; esac; exec sed "$@"',
    "touch": 'case "$*" in *-d*) exit 1 ;; esac; exec touch "$@"',
}


@pytest.mark.parametrize("tool", LACKING)
def test_without_one_of_the_tools_it_is_slower_and_sees_as_much(checkout: Checkout, tool: str) -> None:
    checkout.replace_tool(tool, LACKING[tool])
    in_place(checkout.tree / "d0" / "f1.txt")
    assert checkout.look() == checkout.truth() != checkout.head
    assert not checkout.is_on_the_short_way


@pytest.mark.parametrize("killed_at", ["ls-files -s", "update-index", "add"])
def test_a_look_that_was_killed_hides_nothing_from_the_next(checkout: Checkout, killed_at: str) -> None:
    checkout.replace_tool("git", f'case "$*" in *"{killed_at}"*) kill -9 0 ;; esac; exec git "$@"')
    in_place(checkout.tree / "d0" / "f1.txt")
    with pytest.raises(subprocess.CalledProcessError):
        checkout.look()
    (checkout.tools / "git").unlink()
    in_place(checkout.tree / "d0" / "f2.txt")
    checkout.replace_tool("find", LACKING["find"])
    assert checkout.look() == checkout.truth() != checkout.head


def test_of_a_file_system_of_whole_seconds_the_times_are_not_trusted(checkout: Checkout) -> None:
    whole = int(checkout.shadow.stat().st_mtime)
    for path in (checkout.shadow / "gm.fresh", checkout.shadow / "index"):
        os.utime(path, (whole, whole))
    in_place(checkout.tree / "d0" / "f1.txt")
    assert checkout.look() == checkout.truth() != checkout.head
    assert not checkout.is_on_the_short_way
