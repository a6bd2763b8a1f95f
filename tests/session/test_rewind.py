"""Back to an earlier checkpoint, and forth again."""

from __future__ import annotations

import pytest

from gitmachine import CheckpointNotFound, GitMachine
from tests.session.conftest import Opener, out

# A line end behind each file: else what a directory lists first would decide which lines there are.
EACH = "-printf '%p %y %l|' \\( ! -type f -o -exec cat {} \\; \\) -printf '\\n'"
FILES = f"find . -path ./.git -prune -o ! -type d {EACH} | sort"
RUNNABLE = "find . -path ./.git -prune -o -type f -perm -u+x -print | sort"


async def shape(gm: GitMachine) -> str:
    """Everything in the working tree: names, kinds, modes, contents."""
    return await out(
        gm, f"cd {gm.path} && {FILES}; {RUNNABLE}; git status --short --branch | head -1; git rev-parse HEAD"
    )


async def numbered(gm: GitMachine, command: str) -> int:
    """Runs a command; the number of its entry."""
    await out(gm, command)
    return (await gm.history())[-1].number


async def test_a_rewind_puts_tracked_and_untracked_files_back_and_can_itself_be_undone(session: Opener) -> None:
    gm = await session()
    await gm.run("echo one > tracked; git add tracked; git commit -qm one; echo u > untracked")
    before = await shape(gm)
    early = (await gm.history())[-1].number
    await gm.run("echo two > tracked; rm untracked README.md; mkdir -p new/deep; echo n > new/deep/file")
    after = await shape(gm)
    late = (await gm.history())[-1].number
    done = await gm.rewind(early)
    assert (done.to, done.left, done.aside) == (early, (), ())
    assert await shape(gm) == before
    assert await out(gm, "ls -d new || echo gone") == "gone"
    await gm.rewind(late)
    assert await shape(gm) == after
    kinds = [entry.kind for entry in await gm.history()]
    assert kinds.count("rewind") == 2
    rewound = [event for event in await gm.events() if event.name == "rewound"]
    assert [event.data()["to"] for event in rewound] == [early, late]


async def test_a_rewind_to_0_is_the_session_as_it_began(session: Opener) -> None:
    gm = await session()
    await gm.run("echo more >> README.md; echo new > new")
    await gm.rewind(0)
    assert await gm.diff("session") == ""
    assert await out(gm, "cat README.md; ls") == "# Project\nREADME.md\nsrc"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("mkdir d; echo x > d/f", "rm -r d; echo file > d"),
        ("echo file > d", "rm d; mkdir d; echo x > d/f"),
        ("ln -s README.md link", "rm link; echo file > link"),
        ("echo file > link", "rm link; ln -s /etc/passwd link"),
        ("mkdir real; echo x > real/f; ln -s real alias", "rm alias; mkdir alias; echo y > alias/f"),
        ("mkdir alias; echo y > alias/f", "mv alias real; ln -s real alias"),
        ("echo run > tool; chmod +x tool", "chmod -x tool; echo more >> tool"),
        ("echo run > tool; chmod 444 tool", "rm -f tool; echo walk > tool"),
        ("mkdir ro; echo x > ro/f", "echo y > ro/f; echo z > ro/g; chmod 555 ro"),
        ("echo 1 > \"$(printf 'a\\nb')\"; echo 2 > ./-rf; echo 3 > \"it's\"; echo 5 > \"$(printf 'n\\377')\"",
         "rm -f -- -rf \"it's\" \"$(printf 'a\\nb')\"; echo 4 > --version; echo 6 > \"$(printf 'n\\377')\""),
        ("printf 'a\\r\\nb\\r\\n' > crlf; printf '\\000\\001' > binary; : > empty", "rm crlf binary; echo x > empty"),
        ("echo '*.txt text eol=crlf' > .gitattributes; printf 'a\\r\\n' > a.txt", "rm .gitattributes a.txt"),
        ("for i in $(seq 300); do mkdir -p d$i; echo $i > d$i/f; done", "rm -r d*"),
    ],
)  # fmt: skip
async def test_a_rewind_brings_any_kind_of_file_back(session: Opener, first: str, then: str) -> None:
    gm = await session()
    early = await numbered(gm, first)
    before = await shape(gm)
    late = await numbered(gm, then)
    after = await shape(gm)
    await gm.rewind(early)
    assert await shape(gm) == before
    await gm.rewind(late)
    assert await shape(gm) == after
    await out(gm, "chmod -R u+w .")


async def test_ignored_files_are_left_alone_and_what_stands_in_the_way_is_kept_aside(session: Opener) -> None:
    gm = await session()
    early = await numbered(gm, "echo wanted > thing")
    await gm.run(
        "rm thing; printf 'thing\\ncache\\n' > .gitignore; mkdir thing; echo mine > thing/kept; echo c > cache"
    )
    done = await gm.rewind(early)
    assert await out(gm, "cat thing cache") == "wanted\nc"
    assert done.left == ("cache",)
    assert done.aside == ("thing",)
    assert await out(gm, f"cat {done.aside_path}/thing/kept") == "mine"


async def test_a_repository_inside_the_checkout_keeps_its_history(session: Opener) -> None:
    gm = await session()
    early = await numbered(gm, "echo before > before")
    nested = "git init -q sub; cd sub; git config user.name n; git config user.email n@x; echo s > s; git add s"
    late = await numbered(gm, f"{nested}; git commit -qm inside")
    await gm.rewind(early)
    assert await out(gm, "ls sub; git -C sub log --format=%s") == "inside"
    await gm.rewind(late)
    assert await out(gm, "cat sub/s; git -C sub status --short") == "s"


async def test_what_came_by_no_command_is_not_lost_by_a_rewind(session: Opener) -> None:
    gm = await session()
    early = await numbered(gm, "echo one > file")
    await gm.write_file("file", "written\n")
    done = await gm.rewind(early)
    await gm.rewind(done.entry.number - 1)
    assert await gm.read_file("file") == "written\n"
    assert [entry.kind for entry in await gm.history()] == ["command", "outside", "rewind", "rewind"]


async def test_a_rewind_works_when_the_repository_in_the_machine_is_destroyed(session: Opener) -> None:
    gm = await session()
    early = await numbered(gm, "echo one > file")
    await gm.run("echo two > file; rm -rf .git")
    await gm.rewind(early)
    assert await gm.read_file("file") == "one\n"


async def test_a_rewind_of_a_paused_session_leaves_it_paused(session: Opener) -> None:
    gm = await session()
    early = await numbered(gm, "echo one > file")
    await gm.run("echo two > file")
    await gm.pause()
    await gm.rewind(early)
    assert gm.state == "paused"
    await gm.resume()
    assert await gm.read_file("file") == "one\n"


async def test_a_checkpoint_that_there_is_not_is_refused(session: Opener) -> None:
    gm = await session()
    await gm.run("echo one > file")
    for number in (2, 99, -3):
        with pytest.raises(CheckpointNotFound, match="history"):
            await gm.rewind(number)
    assert await gm.read_file("file") == "one\n"


async def test_a_diff_between_two_checkpoints_needs_no_working_tree(session: Opener) -> None:
    gm = await session()
    await gm.run("echo one > file")
    await gm.run("echo two > file")
    await gm.run("rm file")
    assert "+one" in await gm.diff(0, to=1)
    between = await gm.diff("#1", to="#2")
    assert "-one" in between
    assert "+two" in between
    assert "-two" in await gm.diff(2)
    assert await gm.diff(2, to=2) == ""
