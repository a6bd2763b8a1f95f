"""commit() and diff() and the agent's own index."""

from __future__ import annotations

from tests.session.conftest import Opener, out

STAGED = "echo staged > staged.txt; git add staged.txt; echo half > half.txt; git add half.txt; echo more >> half.txt"


async def test_reading_leaves_the_index_byte_for_byte(session: Opener) -> None:
    gm = await session()
    await gm.run(f"{STAGED}; echo untracked > untracked.txt; git update-index --assume-unchanged README.md")
    before = await gm.read_bytes(".git/index")
    await gm.diff()
    await gm.diff("session", stat=True)
    await gm.status()
    await gm.hash()
    assert await gm.read_bytes(".git/index") == before


async def test_a_pause_without_auto_commit_leaves_the_index_byte_for_byte(session: Opener) -> None:
    gm = await session(auto_commit=False)
    await gm.run(STAGED)
    before = await gm.read_bytes(".git/index")
    await gm.pause()
    await gm.resume()
    assert await gm.read_bytes(".git/index") == before


async def test_after_a_commit_the_index_differs_only_in_what_was_committed(session: Opener) -> None:
    gm = await session()
    await gm.run("for n in 1 2 3; do echo $n > kept-$n; done; git add .; git commit -qm kept; git status")
    await gm.run(f"{STAGED}; rm kept-1; git update-index --skip-worktree kept-2")
    before = set((await out(gm, "git ls-files -s -t")).splitlines())
    await gm.commit()
    after = set((await out(gm, "git ls-files -s -t")).splitlines())
    paths = {line.split("\t")[1] for line in before ^ after}
    assert paths == {"half.txt", "kept-1"}, "half.txt was staged in part, kept-1 was deleted"
    assert await out(gm, "git status --porcelain; git ls-files -t kept-2") == "S kept-2"


async def test_a_commit_of_some_paths_leaves_the_rest_staged_as_it_was(session: Opener) -> None:
    gm = await session()
    await gm.run(f"{STAGED}; echo wanted > wanted.txt")
    await gm.commit("only this", paths=["wanted.txt"])
    assert (await out(gm, "git status --porcelain")).splitlines() == ["AM half.txt", "A  staged.txt"]


async def test_a_commit_touches_neither_stash_nor_other_branches(session: Opener) -> None:
    gm = await session()
    await gm.run("git branch other; echo x >> README.md; git stash -q; echo new > new.txt")
    before = await out(gm, "git rev-parse other stash@{0}")
    await gm.commit()
    assert await out(gm, "git rev-parse other stash@{0}") == before


async def test_a_commit_while_another_branch_is_checked_out_leaves_head_and_index_alone(session: Opener) -> None:
    gm = await session()
    await gm.run("git checkout -q -b other; echo new > new.txt; git add new.txt")
    before = await gm.read_bytes(".git/index")
    sha = await gm.commit()
    assert await gm.read_bytes(".git/index") == before
    assert await out(gm, "git branch --show-current; git rev-parse fix-1") == f"other\n{sha}"


async def test_a_commit_is_whole_in_the_machine_by_whatever_way_its_files_were_captured(session: Opener) -> None:
    gm = await session()
    many = "for n in $(seq 60); do mkdir -p d$n; echo $n > d$n/f.txt; done"
    for step in ("echo one > a.txt", "mkdir -p x/y; echo two > x/y/b.txt; rm a.txt", many, "echo > d7/g.txt"):
        await gm.run(step)
        await gm.run("true")
        await gm.commit(step)
        assert await out(gm, "git status --porcelain; git fsck --connectivity-only --no-dangling 2>&1") == ""
        assert await out(gm, "git log -1 --format=%s") == step
    assert await out(gm, "git show HEAD:x/y/b.txt HEAD:d60/f.txt; git ls-tree -r HEAD | grep -c d7/") == "two\n60\n2"
