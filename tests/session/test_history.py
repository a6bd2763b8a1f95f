"""What a session remembers: each command, what it changed, and by whom a line was written."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from gitmachine import FileError, GitMachine, LocalMachine, settings
from gitmachine.actor import acting
from gitmachine.types import Actor
from tests.session.conftest import Opener, out
from tests.support.git_server import TOKEN, git


def vault_of(gm: GitMachine) -> Path:
    return settings.load().vaults / gm.record.vault / "sessions.git"


async def test_each_command_leaves_an_entry_with_what_it_did(session: Opener) -> None:
    gm = await session()
    await gm.run("echo hello | tee file; echo oops >&2; exit 3")
    await gm.run("true")
    with acting("mcp", "call-7"):
        await gm.run("rm file; echo new > other")
    await gm.run("false", actor=Actor("cli"))
    first, second, third, fourth = await gm.history()
    assert [e.number for e in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert (first.exit_code, first.changed, first.files[0].path, first.files[0].status) == (3, 1, "file", "A")
    assert await gm.outputs(first) == ("hello\n", "oops\n")
    assert first.tree_before != first.tree == second.tree == second.tree_before
    assert first.checkpoint == second.checkpoint
    assert [(e.actor, e.call) for e in (first, third, fourth)] == [("python", None), ("mcp", "call-7"), ("cli", None)]
    assert [(f.path, f.status) for f in third.files] == [("file", "D"), ("other", "A")]
    finished = [event.data() for event in await gm.events() if event.name == "command_finished"]
    assert [(data["number"], data["entry"]) for data in finished] == [
        (e.number, e.sha) for e in (first, second, third, fourth)
    ]


async def test_plain_git_reads_the_history_and_so_does_a_clone_of_the_vault(session: Opener, tmp_path: Path) -> None:
    gm = await session()
    await gm.run("echo one > file\necho second line")
    await gm.run("exit 2")
    ref = f"refs/gitmachine/sessions/{gm.record.id}/history"
    vault = vault_of(gm)
    assert git("log", "--format=%s", ref, cwd=vault).splitlines() == ["exit 2", "echo one > file", "start"]
    entry = json.loads(git("show", f"{ref}:entry.json", cwd=vault))
    assert (entry["number"], entry["exit_code"]) == (2, 2)
    git("clone", "--quiet", "--mirror", str(vault), str(tmp_path / "clone"), cwd=tmp_path)
    assert git("show", f"{ref}~1:stdout", cwd=tmp_path / "clone") == "second line"
    assert "one" in git("show", f"{entry['checkpoint']}:file", cwd=tmp_path / "clone")


async def test_no_secret_comes_into_the_history(session: Opener) -> None:
    gm = await session(env={"API_KEY": "sk-very-secret-value"})
    await gm.run(f"echo {TOKEN} $API_KEY; echo {TOKEN} >&2")
    (entry,) = await gm.history()
    everything = f"{entry.command} {await gm.outputs(entry)} {[event.data() for event in await gm.events()]}"
    assert TOKEN not in everything
    assert "sk-very-secret-value" not in everything


async def test_the_history_goes_on_when_another_program_takes_up_the_session(session: Opener) -> None:
    gm = await session()
    await gm.run("echo one; exit 4")
    other = await GitMachine.connect(gm.machine, token=TOKEN)
    await other.run("echo two")
    assert [entry.command for entry in await gm.history()] == ["echo one; exit 4", "echo two"]
    assert [(log.command, log.result.stdout) for log in other.logs()] == [
        ("echo one; exit 4", "one\n"), ("echo two", "two\n"),
    ]  # fmt: skip
    assert (await gm.run("true")).ok
    assert [entry.number for entry in await other.history()] == [1, 2, 3]


@pytest.mark.parametrize("checkpoint", ["lifecycle", "off"])
async def test_commands_without_a_checkpoint_are_remembered_too(session: Opener, checkpoint: str) -> None:
    gm = await session(checkpoint=checkpoint)
    await gm.run("echo one > file")
    (entry,) = await gm.history()
    assert (entry.command, entry.tree, entry.checkpoint) == ("echo one > file", None, None)
    assert (await gm.verify()).ok


async def test_a_background_command_comes_into_the_history_when_it_has_ended(session: Opener) -> None:
    gm = await session()
    waited = await gm.spawn("echo a > a; echo done; exit 5")
    assert (await waited.wait()).exit_code == 5
    (entry,) = await gm.history()
    assert (entry.kind, entry.exit_code, entry.files[0].path) == ("background", 5, "a")
    assert await gm.outputs(entry) == ("done\n", "")
    left = await gm.spawn("echo b > b")
    await (await gm.machine.process(left.id)).wait()
    await gm.commit("all")
    assert [entry.command for entry in await gm.history()] == ["echo a > a; echo done; exit 5", "echo b > b"]
    await waited.wait()
    assert len(await gm.history()) == 2


async def test_a_local_session_notes_what_ended_in_the_background_at_the_next_command(session: Opener) -> None:
    gm = await session(machine=LocalMachine())
    left = await gm.spawn("echo b > b", actor=Actor("mcp", "call-1"))
    await (await gm.machine.process(left.id)).wait()
    await gm.run("true")
    command, background = await gm.history()
    assert (command.kind, background.kind, background.actor, background.call) == (
        "command", "background", "mcp", "call-1",
    )  # fmt: skip


async def test_blame_names_the_command_of_each_line(session: Opener) -> None:
    gm = await session()
    await gm.run("printf 'a\\nb\\nc\\n' > file")
    await gm.run("sed -i s/b/B/ file; echo more >> README.md")
    await gm.run("echo unrelated > x; git add .; git commit -qm everything")
    lines = await gm.blame("file")
    assert [(line.line, line.text, line.number) for line in lines] == [(1, "a", 1), (2, "B", 2), (3, "c", 1)]
    assert lines[1].command == "sed -i s/b/B/ file; echo more >> README.md"
    readme = await gm.blame(f"{gm.path}/README.md")
    assert [(line.text, line.number) for line in readme] == [("# Project", None), ("more", 2)]
    assert [line.text for line in await gm.blame("file", at=1)] == ["a", "b", "c"]


async def test_blame_looks_through_a_rewind(session: Opener) -> None:
    gm = await session()
    await gm.run("printf 'a\\nb\\n' > file")
    await gm.run("echo c >> file")
    await gm.run("rm file")
    await gm.rewind(2)
    await gm.run("echo d >> file")
    assert [line.number for line in await gm.blame("file")] == [1, 1, 2, 5]


async def test_blame_refuses_what_has_no_lines(session: Opener) -> None:
    gm = await session()
    await gm.run("printf 'a\\000b' > binary; mkdir d; echo x > d/f; ln -s d/f link; echo gone > gone; git add gone")
    await gm.run("rm gone")
    for path, words in {
        "binary": "binary", "d": "directory", "link": "link", "gone": "not in", "nothing": "not in", "../x": "checkout",
    }.items():  # fmt: skip
        with pytest.raises(FileError, match=words):
            await gm.blame(path)
    assert [line.text for line in await gm.blame("gone", at=1)] == ["gone"]


async def test_verify_finds_an_entry_that_was_altered(session: Opener) -> None:
    gm = await session()
    for number in range(4):
        await gm.run(f"echo {number} > file")
    assert (await gm.verify()).ok
    assert (await gm.verify()).entries == 5
    entry = (await gm.history())[1]
    sha = git("rev-parse", f"{entry.sha}:entry.json", cwd=vault_of(gm))
    file = vault_of(gm) / "objects" / sha[:2] / sha[2:]
    content = zlib.decompress(file.read_bytes()).replace(b"echo 1", b"echo X")
    file.chmod(0o600)
    file.write_bytes(zlib.compress(content))
    found = await gm.verify()
    assert len(found.problems) == 1
    assert found.problems[0].startswith("entry 2 ")
    assert "altered" in found.problems[0]


async def test_verify_finds_entries_that_are_missing(session: Opener) -> None:
    gm = await session()
    for number in range(4):
        await gm.run(f"echo {number} > file")
    entries = await gm.history()
    vault, ref = vault_of(gm), f"refs/gitmachine/sessions/{gm.record.id}/history"
    git("update-ref", ref, entries[1].sha, cwd=vault)
    found = await gm.verify()
    assert [problem.split(" (")[0] for problem in found.problems] == ["entry 3", "entry 4"]
    git("update-ref", ref, entries[3].sha, cwd=vault)
    assert (await gm.verify()).ok
    (vault / "objects" / entries[1].sha[:2] / entries[1].sha[2:]).unlink()
    found = await gm.verify()
    assert any("entry 2" in problem for problem in found.problems)
    await out(gm, "true")
