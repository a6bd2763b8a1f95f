"""What an agent can do to its working tree and repository, and that none of it is lost.

The scenarios are the capture table of our study of git in sandboxes: whatever the agent left, the vault has its files
as they are, and its history where it can be read. What is ignored is left out by design.
"""

# ruff: noqa: E501 - a table reads better with a scenario a line

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from gitmachine import GitMachine, settings
from tests.session.conftest import Opener, out, said
from tests.support.git_server import git, git_bytes


@dataclass(frozen=True)
class Scenario:
    """Something an agent does, and what must be in the vault afterwards."""

    does: str
    files: tuple[tuple[str, str | None], ...]
    """Path and content in the vault's checkpoint; None stands for a path that must not be there."""
    history: tuple[str, ...] = ()
    """Subjects of commits that the vault must be able to reach."""
    told: bool = False
    """The repository is broken: the session is told what could not be had from it or given to it."""


EDIT = "echo edited >> README.md; echo new > new.txt"
EDITED = (("README.md", "# Project\nedited\n"), ("new.txt", "new\n"))

SCENARIOS = {
    "untracked file": Scenario("echo new > new.txt", (("new.txt", "new\n"),)),
    "modified file": Scenario("echo edited >> README.md", (("README.md", "# Project\nedited\n"),)),
    "deleted file": Scenario("rm README.md", (("README.md", None),)),
    "staged differs from the working tree": Scenario(
        "echo staged > f; git add f; echo worktree > f", (("f", "worktree\n"),)
    ),
    "detached HEAD": Scenario(f"git checkout -q --detach; git commit -q --allow-empty -m loose; {EDIT}", EDITED, ("loose",)),
    "own branch": Scenario(f"git checkout -q -b own; git commit -q --allow-empty -m own; {EDIT}", EDITED, ("own",)),
    "amended commit": Scenario(
        f"git commit -q --allow-empty -m first; git commit -q --amend --allow-empty -m amended; {EDIT}", EDITED, ("amended",)
    ),
    "merge in progress": Scenario(
        "git checkout -q -b side; echo side > README.md; git commit -qam side; git checkout -q -; "
        "echo main > README.md; git commit -qam ours; git merge side; echo new > new.txt",
        (("new.txt", "new\n"),),
        ("side", "ours"),
    ),
    "rebase in progress": Scenario(
        "git checkout -q -b side; echo side > README.md; git commit -qam side; git checkout -q fix-1; "
        "echo main > README.md; git commit -qam ours; git rebase side; echo new > new.txt",
        (("new.txt", "new\n"),),
        ("side", "ours"),
    ),
    "orphan branch": Scenario(f"git checkout -q --orphan alone; git commit -qm alone; {EDIT}", EDITED, ("alone",)),
    "weird branch name": Scenario(
        f"git checkout -q -b 'a;id$(x)'; git commit -q --allow-empty -m weird; {EDIT}", EDITED, ("weird",)
    ),
    "replace refs": Scenario(
        f"git commit -q --allow-empty -m real; git replace HEAD HEAD~1; {EDIT}", EDITED, ("real",)
    ),
    "planted shallow": Scenario(
        f"git commit -q --allow-empty -m deep; git rev-parse HEAD > .git/shallow; {EDIT}", EDITED, ("deep",)
    ),
    "failing hooks and signing": Scenario(
        f"mkdir -p .git/hooks; printf '#!/bin/sh\nexit 1' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; "
        f"git config commit.gpgSign true; git config gpg.program false; {EDIT}",
        EDITED,
    ),
    "fifo in the tree": Scenario(f"mkfifo pipe; {EDIT}", (*EDITED, ("pipe", None))),
    "hostile file names": Scenario(
        """echo 1 > "$(printf 'a\\nb')"; echo 2 > "it's"; echo 3 > "$(printf 'n\\377x')"; echo 4 > ./-rf; echo 5 > 'q"q'""",
        (("a\nb", "1\n"), ("it's", "2\n"), ("n\udcffx", "3\n"), ("-rf", "4\n"), ('q"q', "5\n")),
    ),
    "stale index.lock": Scenario(f"touch .git/index.lock; {EDIT}", EDITED),
    "link to a host file": Scenario("ln -s /etc/passwd link", (("link", "/etc/passwd"),)),
    "corrupt index": Scenario(f"echo garbage > .git/index; {EDIT}", EDITED, told=True),
    ".git deleted": Scenario(f"rm -rf .git; {EDIT}", EDITED, told=True),
    "HEAD is garbage": Scenario(f"echo garbage > .git/HEAD; {EDIT}", EDITED, told=True),
    "skip-worktree": Scenario(f"git update-index --skip-worktree README.md; {EDIT}", EDITED),
    "assume-unchanged": Scenario(f"git update-index --assume-unchanged README.md; {EDIT}", EDITED),
    "failing required filter": Scenario(
        f"git config filter.x.clean false; git config filter.x.required true; echo '* filter=x' > .gitattributes; {EDIT}",
        EDITED,
    ),
    "embedded repository with commits": Scenario(
        "git init -q sub; cd sub; echo inner > inner.txt; git add .; git -c user.name=a -c user.email=a@b commit -qm inner; "
        "echo later > later.txt",
        (("sub/inner.txt", "inner\n"), ("sub/later.txt", "later\n")),
    ),
    "embedded repository without a commit": Scenario(
        "git init -q sub; echo inner > sub/inner.txt; git init -q sub/deeper; echo deep > sub/deeper/d.txt",
        (("sub/inner.txt", "inner\n"), ("sub/deeper/d.txt", "deep\n")),
    ),
    "another branch and stashes": Scenario(
        "git checkout -q -b other; git commit -q --allow-empty -m elsewhere; git checkout -q fix-1; "
        "echo s1 >> README.md; git stash -q -m one; echo s2 >> README.md; git stash -q -m two",
        (("README.md", "# Project\n"),),
        ("elsewhere", "On fix-1: one", "On fix-1: two"),
    ),
    "ignored artefacts": Scenario(
        "echo '*.o' > .gitignore; echo obj > main.o; echo src > main.c", (("main.c", "src\n"), ("main.o", None))
    ),
    "sparse checkout": Scenario(
        "git sparse-checkout set --cone docs; ls; echo new > new.txt", (("src/app.py", "print('hello')\n"), ("new.txt", "new\n"))
    ),
    "empty directory to file and back": Scenario("rm -rf src; echo file > src", (("src", "file\n"), ("src/app.py", None))),
    "executable bit and CRLF": Scenario(
        "printf 'a\\r\\nb\\r\\n' > crlf.txt; chmod +x README.md", (("crlf.txt", "a\r\nb\r\n"),)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
async def test_nothing_of_it_is_lost(session: Opener, name: str) -> None:
    scenario = SCENARIOS[name]
    gm = await session(checkpoint="lifecycle")
    await gm.run(f"git config advice.detachedHead false; ({scenario.does}) 2>&1")
    await gm.pause()
    for path, content in scenario.files:
        assert _file(gm, path) == content, path
    for subject in scenario.history:
        assert subject in _history(gm), subject
    assert ("capture_incomplete" in await said(gm)) is scenario.told
    await gm.stop()


REF_CHANGES = {
    "a branch": "git branch new HEAD~1",
    "a branch that moves without a new file": "printf %s $(git rev-parse HEAD~1) | dd of=.git/refs/heads/old conv=notrunc",
    "an older repository put back with its times": "rm -r .git; cp -a ~/before .git",
    "another branch checked out": "git checkout -q old",
    "a stash": "echo y >> README.md; git stash -q",
    "a branch among the packed ones": "git branch new HEAD~1; git pack-refs --all",
    "a branch that is gone": "git branch -D old",
}


@pytest.mark.parametrize("change", REF_CHANGES.values(), ids=REF_CHANGES.keys())
async def test_a_change_of_history_is_seen_also_when_nothing_had_changed_for_a_while(
    session: Opener, change: str
) -> None:
    gm = await session()
    await gm.run("cp -a .git ~/before; git commit -q --allow-empty -m one; git branch old; sleep 0.05")
    for _ in range(3):
        await gm.run("true")
    await gm.run(f"{change}; sleep 0.05")
    ours = await out(
        gm, "git for-each-ref --format='%(refname) %(objectname)' refs/heads refs/stash; git rev-parse HEAD"
    )
    prefix = f"refs/gitmachine/sessions/{gm.record.id}/"
    listed = git("for-each-ref", "--format=%(refname) %(objectname)", prefix, cwd=_vault(gm)).splitlines()
    theirs = dict(line.removeprefix(prefix).split() for line in listed)
    *refs, head = ours.splitlines()
    wanted = {
        name.removeprefix("refs/").replace("stash", "stash/0"): sha for name, sha in (ref.split() for ref in refs)
    }
    assert {name: sha for name, sha in theirs.items() if name.startswith(("heads/", "stash/"))} == wanted
    assert theirs["head"] == head


FILE_CHANGES = (
    "cp -p README.md ~/t; printf X | dd of=README.md conv=notrunc; touch -r ~/t README.md",
    "chmod +x README.md",
    "cp -p README.md ~/t; tr a-z b-za < README.md > ~/u; touch -r ~/t ~/u; mv ~/u README.md",
    "ln -s README.md link",
    "ln -sfn other link",
    "mkdir -p deep/er; touch deep/er/file",
    "mv deep deeper",
    "rm link",
    "cp -a ~/before/. .",
)


async def test_each_change_of_files_is_seen_also_when_nothing_had_changed_for_a_while(session: Opener) -> None:
    gm = await session()
    await gm.run("mkdir ~/before; cp -p README.md ~/before")
    for change in FILE_CHANGES:
        await gm.run("sleep 0.05")
        await gm.run(change)
        [entry] = await gm.history(1)
        assert entry.command == change
        assert entry.changed
        assert git("rev-parse", f"{entry.checkpoint}^{{tree}}", cwd=_vault(gm)) == await out(
            gm, "export GIT_INDEX_FILE=$HOME/index; rm -f $GIT_INDEX_FILE; git add -A; git write-tree"
        )


async def test_a_file_that_cannot_be_read_is_kept_where_the_provider_can_and_else_reported(session: Opener) -> None:
    gm = await session()
    await gm.run("echo secret > locked; chmod 000 locked; echo rest > rest.txt")
    assert _file(gm, "rest.txt") == "rest\n"
    kept = _file(gm, "locked") == "secret\n"
    assert kept or "capture_incomplete" in await said(gm)


async def test_a_file_larger_than_the_remote_takes_is_withheld_and_kept(session: Opener) -> None:
    from gitmachine import Guard

    gm = await session(guard=Guard(max_file_bytes=1000))
    await gm.run("head -c 5000 /dev/urandom > big.bin; echo small > small.txt")
    await gm.commit()
    committed = next(event for event in await gm.events() if event.name == "committed")
    assert [item["path"] for item in committed.data()["withheld"]] == ["big.bin"]
    assert len(_bytes(gm, "files", "big.bin") or b"") == 5000


async def test_a_large_change_crosses_as_a_file_and_not_as_text(session: Opener) -> None:
    gm = await session()
    await gm.run("head -c 3000000 /dev/urandom > big.bin; sha256sum big.bin > sum")
    import hashlib

    content = _bytes(gm, "files", "big.bin") or b""
    assert hashlib.sha256(content).hexdigest() == (await out(gm, "cut -d' ' -f1 sum"))


async def test_capturing_writes_nothing_into_the_working_tree(session: Opener) -> None:
    gm = await session()
    await gm.run("echo new > new.txt; git add new.txt; echo more > more.txt")
    # Not the time of an object that is there already: git notes with it that it was needed again.
    files = (
        r"find . -path ./.git/objects -prune -o -type f -printf '%p %s %T@\n' | sort; find .git/objects -type f | sort"
    )
    look = f"{files}; GIT_OPTIONAL_LOCKS=0 git status --porcelain"
    before = await out(gm, look)
    await gm.diff()
    assert await out(gm, look) == before


def _vault(gm: GitMachine) -> Path:
    return settings.load().vaults / gm.record.vault / "sessions.git"


def _bytes(gm: GitMachine, ref: str, path: str) -> bytes | None:
    """A file as the vault has it; None when it is not there."""
    name = f"refs/gitmachine/sessions/{gm.record.id}/{ref}"
    listing = git_bytes("--git-dir", str(_vault(gm)), "ls-tree", "-r", "-z", name, cwd=_vault(gm))
    wanted = path.encode("utf-8", "surrogateescape")
    for line in listing.split(b"\0"):
        head, _, found = line.partition(b"\t")
        if found == wanted:
            sha = head.split(b" ")[2].decode()
            return git_bytes("--git-dir", str(_vault(gm)), "cat-file", "blob", sha, cwd=_vault(gm))
    return None


def _file(gm: GitMachine, path: str) -> str | None:
    content = _bytes(gm, "files", path)
    return None if content is None else content.decode("utf-8", "surrogateescape")


def _history(gm: GitMachine) -> list[str]:
    """The subjects of all commits that the session's refs reach."""
    pattern = f"--glob=refs/gitmachine/sessions/{gm.record.id}/*"
    log = git_bytes("--git-dir", str(_vault(gm)), "log", "--format=%s", pattern, cwd=_vault(gm))
    return log.decode().splitlines()
