"""The vault: what it fetches, what it keeps apart, what it answers."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from gitmachine import settings
from gitmachine.errors import ConfigurationError, RemoteUnreachable, RepositoryError, VaultError
from gitmachine.git.remote import parse_remote
from gitmachine.git.vault import Vault, vault_name
from gitmachine.types import GitIdentity
from tests.git.conftest import OpenVault
from tests.support.git_server import TOKEN, GitServer, Repository, git
from tests.support.maker import Maker

TIP = "refs/gitmachine/sessions/s1/tip"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))


# --- fetch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("default", ["main", "master", "trünk/x"])
async def test_the_default_branch_is_what_the_remote_says(
    git_server: GitServer, open_vault: OpenVault, default: str
) -> None:
    made = git_server.repository(default=default)
    state = await (await open_vault(made)).fetch()
    assert state.default_branch == default
    assert dict(state.heads) == made.heads()


async def test_a_head_that_names_no_branch_is_no_default(git_server: GitServer, open_vault: OpenVault) -> None:
    state = await (await open_vault(git_server.without_default())).fetch()
    assert state.default_branch is None
    assert list(state.heads) == ["trunk"]


async def test_an_empty_repository_has_no_branches(git_server: GitServer, open_vault: OpenVault) -> None:
    vault = await open_vault(git_server.empty())
    for _ in range(2):
        state = await vault.fetch()
        assert (dict(state.heads), dict(state.tags), state.default_branch) == ({}, {}, None)


async def test_a_fetch_follows_new_moved_and_deleted_branches_and_tags(vault: Vault, project: Repository) -> None:
    first = project.heads()["main"]
    project.commit("topic", {"a": "a"})
    project.git("tag", "v1", first)
    await vault.fetch()
    assert await vault.resolve("topic")
    assert await vault.resolve("v1") == first
    project.git("update-ref", "-d", "refs/heads/topic")
    project.git("update-ref", "-d", "refs/tags/v1")
    project.commit("topic/sub", {"b": "b"})
    second = project.commit("main", {"c": "c"})
    state = await vault.fetch()
    assert dict(state.heads) == project.heads()
    assert dict(state.tags) == {}
    assert await vault.refs("refs/heads/") == {f"refs/heads/{k}": v for k, v in project.heads().items()}
    assert await vault.is_ancestor(first, second)


async def test_a_rewritten_branch_is_followed_and_its_old_commits_stay(vault: Vault, project: Repository) -> None:
    old = project.commit("main", {"a": "a"})
    await vault.fetch()
    project.git("update-ref", "-d", "refs/heads/main")
    new = project.commit("main", {"b": "b"})
    assert (await vault.fetch()).heads["main"] == new
    assert (await vault.kinds([old]))[old] == "commit"


async def test_nothing_new_costs_one_listing(vault: Vault, git_server: GitServer) -> None:
    git_server.requests.clear()
    await vault.fetch()
    asked = [f"{request.method} {request.path.partition('/project.git/')[2]}" for request in git_server.requests]
    assert asked == ["GET info/refs?service=git-upload-pack", "POST git-upload-pack"]


async def test_an_outage_is_retried_and_then_reported(vault: Vault, git_server: GitServer) -> None:
    git_server.stop()
    with pytest.raises(RemoteUnreachable):
        await vault.fetch()
    git_server.start()
    assert (await vault.fetch()).default_branch == "main"


async def test_a_short_outage_is_bridged(vault: Vault, git_server: GitServer, project: Repository) -> None:
    new = project.commit("main", {"x": "y"})
    git_server.stop()
    waiting = asyncio.create_task(vault.fetch())
    loop = asyncio.get_running_loop()
    loop.call_later(0.5, git_server.start)
    assert (await waiting).heads["main"] == new


async def test_two_processes_fetching_at_once_both_succeed(project: Repository, open_vault: OpenVault) -> None:
    vaults = [await open_vault(project) for _ in range(4)]
    project.commit("main", {"x": "y"})
    states = await asyncio.gather(*(vault.fetch() for vault in vaults))
    assert all(dict(state.heads) == project.heads() for state in states)


async def test_history_with_old_blemishes_can_be_fetched(git_server: GitServer, open_vault: OpenVault) -> None:
    made = git_server.repository()
    tree = made.git("rev-parse", "main^{tree}")
    raw = f"tree {tree}\nauthor A <a@b.c> 1300000000 +051800\ncommitter A <a@b.c> 1300000000 +051800\n\nold\n"
    sha = made.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=raw.encode())
    made.git("update-ref", "refs/heads/old", sha)
    assert (await (await open_vault(made)).fetch()).heads["old"] == sha


async def test_a_local_path_and_a_shallow_one_are_remotes_too(project: Repository, state_dir: Path) -> None:
    tip = project.commit("main", {"x": "y"})
    clone = state_dir / "clone"
    git("clone", "--quiet", "--depth=1", f"file://{project.path}", str(clone), cwd=state_dir)
    for path in (project.path, clone):
        vault = await Vault.open(settings.load(), parse_remote(str(path)))
        assert (await vault.fetch()).heads["main"] == tip
        made = await vault.write_commit(await vault.tree_of(tip), [tip], GitIdentity(), "m", WHEN)
        await vault.receive(None, {TIP: made.sha})
        assert await vault.resolve(TIP) == made.sha


async def test_a_sha256_repository_is_refused_in_words(git_server: GitServer, open_vault: OpenVault) -> None:
    made = git_server.empty()
    options = ("--quiet", "--bare", "--template=", "--object-format=sha256", "--initial-branch=main")
    git("init", *options, str(git_server.root / "new.git"), cwd=made.path)
    other = Repository(git_server.root / "new.git", made.url.replace("project", "new"))
    other.commit("main", {"a": "b"})
    with pytest.raises(RepositoryError, match="SHA-256"):
        await (await open_vault(other)).fetch()


# --- the two repositories ---------------------------------------------------------------------------------


async def test_a_remote_has_one_vault_whatever_the_token_and_it_is_closed_to_others(
    project: Repository, state_dir: Path
) -> None:
    names = set()
    for token in (TOKEN, "another-token", None):
        vault = await Vault.open(settings.load(), parse_remote(project.url, token))
        names.add(vault.name)
        assert vault.path.stat().st_mode & 0o777 == 0o700
        assert TOKEN not in vault.name
        assert "127-0-0-1" in vault.name
    assert len(names) == 1
    assert (state_dir / "vaults").stat().st_mode & 0o777 == 0o700


async def test_a_vault_without_remote_has_sessions_only(state_dir: Path, maker: Maker) -> None:
    vault = await Vault.open(settings.load(), None, "local-x")
    assert dict((await vault.fetch()).heads) == {}
    tip = maker.commit({"a": "b"})
    await vault.receive(maker.pack(tip, whole=True), {TIP: tip})
    assert await vault.refs("refs/gitmachine/sessions/s1/") == {TIP: tip}
    with pytest.raises(ConfigurationError):
        await Vault.open(settings.load(), None, "../evil")


async def test_a_sessions_objects_are_not_where_machines_read(vault: Vault, maker: Maker) -> None:
    tip = maker.commit({"private": "of this session"})
    await vault.receive(maker.pack(tip), {TIP: tip})
    await vault.fetch()
    names = [p.parent.name + p.name for p in vault.upstream_objects.glob("??/*")]
    assert tip not in names
    done = await vault.git.run("cat-file", "-e", tip, git_dir=vault.upstream, check=False)
    assert done.exit_code != 0


async def test_shared_objects_complete_upstreams_and_hold_no_other_session(
    vault: Vault, maker: Maker, state_dir: Path
) -> None:
    mine = maker.commit({"mine": "1"})
    await vault.receive(maker.pack(mine), {TIP: mine})
    other = maker.commit({"other": "2"})
    await vault.receive(maker.pack(other), {"refs/gitmachine/sessions/s2/tip": other})
    await vault.share([mine], state_dir / "shared")
    env = {
        "GIT_OBJECT_DIRECTORY": str(state_dir / "shared"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(vault.upstream_objects),
    }
    git("init", "--quiet", "--bare", str(state_dir / "r.git"), cwd=state_dir)
    assert git("rev-list", "--objects", mine, cwd=state_dir / "r.git", env=env)
    with pytest.raises(AssertionError):
        git("cat-file", "-e", other, cwd=state_dir / "r.git", env=env)


async def test_a_state_directory_that_cannot_be_made_is_said(state_dir: Path) -> None:
    (state_dir / "file").write_text("")
    with pytest.raises(VaultError, match="GITMACHINE_HOME"):
        await Vault.open(settings.Settings(state_dir / "file" / "x"), None, "n")


# --- reading and composing --------------------------------------------------------------------------------


async def test_refs_resolve_by_name_and_by_sha(vault: Vault, project: Repository) -> None:
    head = project.heads()["main"]
    await vault.update_refs({TIP: head})
    for name in ("main", "refs/heads/main", head, TIP):
        assert await vault.resolve(name) == head
    for name in ("nothing", "-x", "--help", "0" * 40, "refs/gitmachine/sessions/s1/x", ":/", "a b", ""):
        assert await vault.resolve(name) is None


async def test_a_branch_can_make_room_for_another(vault: Vault, project: Repository) -> None:
    head, base = project.heads()["main"], "refs/gitmachine/sessions/s1/heads/"
    await vault.update_refs({base + "a": head})
    await vault.update_refs({base + "a": None, base + "a/b": head})
    await vault.update_refs({base + "a/b": None, base + "a": head, base + "nothing": None})
    assert await vault.refs(base) == {base + "a": head}


async def test_refs_move_all_or_none(vault: Vault, project: Repository) -> None:
    head = project.heads()["main"]
    with pytest.raises(VaultError):
        await vault.update_refs({TIP: head, "refs/gitmachine/sessions/s1/x": "1" * 40})
    assert await vault.refs("refs/gitmachine/") == {}
    with pytest.raises(ConfigurationError):
        await vault.update_refs({"refs/heads/main": head})


@pytest.mark.parametrize("message", ["plain", "two\n\nparts\n\n", "quo\"te's $(id) `x`\n", "- ünï\n\x01", "", "\udcff"])
async def test_a_commit_is_the_same_bytes_everywhere(
    vault: Vault, project: Repository, maker: Maker, message: str
) -> None:
    head = project.heads()["main"]
    tree = await vault.tree_of(head)
    made = await vault.write_commit(tree, [head], GitIdentity("Ä <x>\n", "a@b.c"), message, WHEN)
    assert maker.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=made.raw) == made.sha
    assert await vault.raw_commit(made.sha) == made.raw
    assert b"author \xc3\x84 x <a@b.c> 1767335645 -0330\n" in made.raw
    assert made.raw.endswith(b"\n")
    assert message == "" or not made.raw.endswith(b"\n\n")
    await vault.receive(None, {TIP: made.sha})
    await vault.git.run("fsck", "--strict", "--no-dangling", git_dir=vault.store)


async def test_what_git_cannot_store_in_a_commit_is_refused(vault: Vault, project: Repository) -> None:
    tree = await vault.tree_of(project.heads()["main"])
    with pytest.raises(ConfigurationError, match="NUL"):
        await vault.write_commit(tree, [], GitIdentity(), "a\0b", WHEN)
    with pytest.raises(ConfigurationError, match="name"):
        await vault.write_commit(tree, [], GitIdentity(name="<>"), "a", WHEN)
    with pytest.raises(ConfigurationError, match="zone"):
        await vault.write_commit(tree, [], GitIdentity(), "a", WHEN.replace(tzinfo=None))
    with pytest.raises(ConfigurationError, match="40 hex"):
        await vault.write_commit("--help", [], GitIdentity(), "a", WHEN)


async def test_changes_and_trees_go_back_and_forth(vault: Vault, maker: Maker, project: Repository) -> None:
    head = project.heads()["main"]
    os.remove(maker.path / "README.md")
    (maker.path / "link").symlink_to("/etc/passwd")
    tip = maker.commit({"src/app.py": "new", 'neu \n"x".txt': "1", "src/app.py2": b"\0\1"})
    await vault.receive(maker.pack(tip), {TIP: tip})
    changes = await vault.changes(head, tip)
    assert {change.path: change.status for change in changes} == {
        b"README.md": "D", b"link": "A", b"neu \n\"x\".txt": "A", b"src/app.py": "M", b"src/app.py2": "A",
    }  # fmt: skip
    back = {c.path: None if c.status == "A" else (c.old_mode, c.old_sha) for c in changes}
    assert await vault.tree_with(await vault.tree_of(tip), back) == await vault.tree_of(head)
    assert len(await vault.changes(None, tip)) == 4
    assert not list(vault.store.glob("gm-index-*"))


async def test_a_diff_shows_text_and_notes_binaries(vault: Vault, maker: Maker, project: Repository) -> None:
    head = project.heads()["main"]
    tip = maker.commit({"src/app.py": "print('bye')\n", "b.bin": b"\0\1\2", "ü.txt": b"caf\xe9\n"})
    maker.git("mv", "README.md", "LIESMICH.md")
    tip = maker.commit({".gitattributes": "* diff=evil -text\n"})
    await vault.receive(maker.pack(tip), {TIP: tip})
    text = await vault.diff(head, tip)
    assert "-print('hello')\n+print('bye')" in text
    assert "Binary files /dev/null and b/b.bin differ" in text
    for shown in ("rename to LIESMICH.md", "b/ü.txt", "caf\ufffd"):
        assert shown in text
    assert await vault.diff(head, head) == ""
    assert "b.bin" not in await vault.diff(head, tip, paths=["src"])
    assert await vault.diff(head, tip, paths=["*"]) == "", "paths are no patterns"
    assert "src/app.py" in await vault.diff(head, tip, stat=True)
    assert "new file" in await vault.diff(None, head)


async def test_a_pack_completes_what_the_other_side_has(vault: Vault, maker: Maker, project: Repository) -> None:
    new = project.commit("main", {"later": "x" * 5000})
    await vault.fetch()
    old = maker.git("rev-parse", "HEAD")
    pack = b"".join([chunk async for chunk in vault.pack([new], without=[old])])
    maker.git("index-pack", "--stdin", "--strict", stdin=pack)
    maker.git("fsck", "--strict", new)
    with pytest.raises(VaultError):
        _ = [chunk async for chunk in vault.pack(["1" * 40])]


async def test_ten_processes_receive_at_once(vault: Vault, maker: Maker, project: Repository) -> None:
    jobs = []
    for number in range(10):
        maker.git("checkout", "--quiet", "--detach", "origin/main")
        tip = maker.commit({f"file{number}": "x" * number, "shared": "the same everywhere"})
        pack = maker.path.parent / f"{number}.pack"
        pack.write_bytes(maker.pack(tip))
        jobs.append((str(pack), f"refs/gitmachine/sessions/s{number}/tip", tip))
    program = (
        "import asyncio, sys, pathlib\n"
        "from gitmachine import settings\n"
        "from gitmachine.git.vault import Vault\n"
        "async def main(name, pack, ref, tip):\n"
        "    vault = await Vault.open(settings.load(), None, name)\n"
        "    for i in range(5):\n"
        "        await vault.receive(pathlib.Path(pack).read_bytes(), {ref: tip, ref + str(i): tip, ref + 'x': None})\n"
        "asyncio.run(main(*sys.argv[1:]))\n"
    )
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", program, vault.name, *job) for job in jobs]
    codes = await asyncio.gather(*(process.wait() for process in processes))
    assert codes == [0] * 10
    await vault.git.run("fsck", "--strict", git_dir=vault.store)
    refs = await vault.refs("refs/gitmachine/sessions/")
    assert all(refs[ref] == tip for _, ref, tip in jobs)
    assert len(refs) == 60
    assert not list((vault.store / "objects").glob("tmp_objdir*"))


async def test_a_fetch_gets_past_the_locks_that_a_killed_one_left(vault: Vault, project: Repository) -> None:
    project.commit("gone", {"a": "a"})
    await vault.fetch()
    project.git("update-ref", "-d", "refs/heads/gone")
    git("pack-refs", "--all", cwd=vault.upstream)
    new = project.commit("main", {"d": "d"})
    left = [vault.upstream / name for name in ("refs/heads/main.lock", "packed-refs.lock", "packed-refs.new")]
    for lock in left:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        os.utime(lock, (0, 0))
    assert dict((await vault.fetch()).heads) == {"main": new}
    assert not [lock for lock in left if lock.exists()]


async def test_a_vault_whose_making_was_killed_is_made(project: Repository, open_vault: OpenVault) -> None:
    path = settings.load().vaults / vault_name(parse_remote(project.url, TOKEN))
    for name in ("upstream.git", "sessions.git"):
        (path / name).mkdir(parents=True)
        for lock in ("config.lock", "HEAD.lock"):
            (path / name / lock).touch()
    assert (await (await open_vault(project)).fetch()).default_branch == "main"
