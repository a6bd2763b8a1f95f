"""What a machine on the host's own kernel can have besides: shared objects, an observer, spares, quiet."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import portalocker  # noqa: F401 - imported by the first lock otherwise, which reads files
import pytest
from blockbuster import blockbuster_ctx

from gitmachine.errors import ConfigurationError, StateError
from gitmachine.machines.local import LocalMachine
from gitmachine.machines.local.observer import live
from gitmachine.types import ExecuteOptions, MachineState
from tests import leaks


def git(directory: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.defpath, "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip
    done = subprocess.run(["git", *arguments], cwd=directory, env=environment, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(state_dir: Path) -> Path:
    path = state_dir / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    (path / "file").write_text("one\n")
    git(path, "add", ".")
    git(path, "commit", "-qm", "one")
    git(path, "repack", "-adq")
    (path / "file").write_text("two\n")
    git(path, "commit", "-qam", "two")
    return path


CHECKOUT = (
    "git init -q repo && cd repo && echo /run/gm/objects > .git/objects/info/alternates && "
    'git reset -q --hard "$COMMIT" && cat file'
)


async def test_shared_objects_are_read_in_the_machine_and_cannot_be_changed(
    repository: Path, machine: LocalMachine
) -> None:
    assert await machine.share_objects(repository / ".git" / "objects") == "/run/gm/objects"
    commit = git(repository, "rev-parse", "HEAD")
    result = await machine.execute(CHECKOUT, ExecuteOptions(env={"COMMIT": commit}))
    assert result.stdout == "two\n", result.stderr
    attack = await machine.execute(
        "cd /run/gm/objects; for f in pack/*.pack; do chmod u+w $f; echo x >> $f; rm -f $f; ln $f ~/pack; done; "
        "touch new; mv pack old; ls ~"
    )
    assert attack.stderr.count("Read-only file system") >= 4
    assert "pack" not in attack.stdout
    git(repository, "fsck", "--strict")


async def test_sharing_again_adds_what_is_new_also_while_the_machine_runs(
    repository: Path, machine: LocalMachine
) -> None:
    objects = repository / ".git" / "objects"
    await machine.share_objects(objects)
    (repository / "file").write_text("three\n")
    git(repository, "commit", "-qam", "three")
    git(repository, "repack", "-adq")
    git(repository, "prune")
    await machine.share_objects(objects)
    commit = git(repository, "rev-parse", "HEAD")
    result = await machine.execute(CHECKOUT, ExecuteOptions(env={"COMMIT": commit}))
    assert result.stdout == "three\n", result.stderr


async def test_objects_can_be_shared_before_the_start(repository: Path) -> None:
    machine = LocalMachine()
    try:
        await machine.share_objects(repository / ".git" / "objects")
        made = machine.id
        assert machine.state is MachineState.IDLE
        await machine.start()
        assert machine.id == made
        assert await machine.list_files("/run/gm/objects/pack") != []
    finally:
        await machine.stop()


async def test_what_is_no_object_directory_is_refused(machine: LocalMachine, state_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing"):
        await machine.share_objects(state_dir / "missing")


async def test_an_observer_reads_every_file_and_writes_none(machine: LocalMachine) -> None:
    await machine.execute("mkdir repo; echo x > repo/closed; chmod 0 repo/closed; ln -s /etc/shadow repo/link")
    observer = await machine.observer("/home/user/repo")
    assert observer is not None
    assert (observer.work_tree, observer.git_dir) == ("/w/repo", "/g")
    assert await observer.read_bytes("/w/repo/closed") == b"x\n"
    written = await observer.execute("touch /w/repo/new; cat /w/repo/link; cat /etc/shadow")
    assert "Read-only file system" in written.stderr
    assert written.stdout == ""
    await observer.execute("mkdir -p /g/objects/aa; echo seen > /g/objects/aa/x; echo hidden > /g/y")
    assert observer.git_objects_in_machine is not None
    seen = await machine.execute(f"cd {observer.git_objects_in_machine}; cat aa/x; touch aa/y; ls .. ~")
    assert seen.stdout.startswith("seen\n")
    assert "Read-only file system" in seen.stderr
    assert "y" not in seen.stdout.split()


async def test_an_observer_has_no_network_and_no_rights_beyond_reading(machine: LocalMachine) -> None:
    observer = await machine.observer(".")
    assert observer is not None
    said = await observer.execute(
        "tail -n +3 /proc/net/dev | cut -d: -f1; grep -E 'CapEff|CapBnd' /proc/self/status; unshare -n true"
    )
    assert said.stdout.split() == ["lo", "CapEff:", "0000000000000004", "CapBnd:", "0000000000000004"]
    assert said.exit_code != 0


SETTLED = "sleep 0.05"  # longer than a tick of the clock that the kernel stamps files with

CHANGES = {
    "a file's content": "echo y > repo/a/file",
    "its content, its size and times kept": "cp -p repo/a/file t; echo z > repo/a/file; touch -r t repo/a/file",
    "its mode": "chmod 600 repo/a/file",
    "a new file": "touch repo/a/new",
    "a new file deep below": "touch repo/a/b/c/new",
    "a file that is gone": "rm repo/a/file",
    "a file that takes another's place": "echo x > other; touch -r repo/a/file other; mv other repo/a/file",
    "a directory that takes another's place": "cp -a repo/a copy; rm -r repo/a; mv copy repo/a",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_marks_are_the_same_only_while_nothing_has_changed(machine: LocalMachine, change: str) -> None:
    await machine.execute(f"mkdir -p repo/a/b/c; echo x > repo/a/file; echo x > repo/file; {SETTLED}")
    observer = await machine.observer("/home/user/repo")
    assert observer is not None
    before = await observer.marks("/w/repo", ["a", "file", "missing"])
    assert before
    assert await observer.marks("/w/repo", ["a", "file", "missing"]) == before
    whole = await observer.tree_marks("/w/repo")
    assert whole
    await machine.execute(f"{change}; {SETTLED}")
    assert await observer.marks("/w/repo", ["a", "file", "missing"]) not in (before, b"")
    assert await observer.tree_marks("/w/repo") not in (whole, b"")


async def test_marks_promise_nothing_of_what_leads_elsewhere_or_is_too_much_or_new(machine: LocalMachine) -> None:
    observer = await machine.observer("/home/user/repo")
    assert observer is not None
    await machine.execute(
        f"mkdir repo; cd repo; ln -s /etc link; mkfifo pipe; mkdir many; touch many/{{1..2000}}; {SETTLED}"
    )
    for name in ("link", "pipe", "many"):
        assert await observer.marks("/w/repo", [name]) == b""
    assert await observer.tree_marks("/w/repo") == b""
    await machine.execute(f"rm repo/pipe; {SETTLED}")
    assert await observer.tree_marks("/w/repo") == b""
    await machine.execute(f"mkdir few; touch few/1; {SETTLED}")
    assert await observer.tree_marks("/w/few") != b""
    await machine.execute("touch repo/now")
    assert await observer.marks("/w/repo", ["now"]) == b""
    assert await observer.marks("/w/repo", ["missing"]) == b""


async def test_marks_of_a_tree_are_those_of_its_files_and_links_and_not_of_its_git(machine: LocalMachine) -> None:
    observer = await machine.observer("/home/user/repo")
    assert observer is not None
    await machine.execute(f"mkdir -p repo/sub/.git; cd repo; git init -q; ln -s /etc link; {SETTLED}")
    before = await observer.tree_marks("/w/repo")
    await machine.execute(f"cd repo; git config a.b c; touch .git/new; {SETTLED}")
    assert await observer.tree_marks("/w/repo") == before != b""
    for change in ("ln -sfn /tmp link", "touch sub/.git/new", "mv .git moved"):
        await machine.execute(f"cd repo; {change}; {SETTLED}")
        now = await observer.tree_marks("/w/repo")
        assert now not in (before, b"")
        before = now


async def test_an_observer_goes_on_while_the_machine_is_paused(machine: LocalMachine) -> None:
    await machine.execute("mkdir repo; echo x > repo/file")
    await machine.pause()
    observer = await machine.observer("/home/user/repo")
    assert observer is not None
    assert (await observer.execute("cat /w/repo/file")).stdout == "x\n"


async def test_an_observer_that_ended_is_started_again(machine: LocalMachine) -> None:
    observer = await machine.observer("/home/user/repo")
    assert observer is not None
    await observer.execute("true")
    assert machine._layout is not None
    layout = machine._layout
    init = await asyncio.to_thread(live, layout)
    assert init is not None
    os.kill(init.pid, 9)
    assert await asyncio.to_thread(leaks.until, lambda: not init.is_alive(), 10)
    assert (await observer.execute("echo again")).stdout == "again\n"


async def test_an_observer_that_is_asked_for_before_the_start_comes_up_with_the_machine(state_dir: Path) -> None:
    del state_dir
    machine = LocalMachine()
    try:
        observer = await machine.observer(".")
        assert observer is not None
        await machine.start()
        assert machine._layout is not None
        up = await asyncio.to_thread(live, machine._layout)
        assert up is not None
        await machine.write_file("x", "x")
        assert await observer.read_bytes("/w/x") == b"x"
        assert await asyncio.to_thread(live, machine._layout) == up
    finally:
        await machine.stop()


async def test_there_is_no_observer_outside_the_home(machine: LocalMachine) -> None:
    assert await machine.observer("/etc") is None
    assert await machine.observer("/home/user/../other") is None


async def ready(state_dir: Path) -> None:
    await asyncio.to_thread(leaks.wait_for_builders, state_dir)


async def test_a_spare_is_claimed_once_and_by_its_key(repository: Path, state_dir: Path) -> None:
    first, second, third = LocalMachine(), LocalMachine(), LocalMachine()
    options = ExecuteOptions(env={"COMMIT": git(repository, "rev-parse", "HEAD")})
    try:
        await first.share_objects(repository / ".git" / "objects")
        await first.keep_spare("a", CHECKOUT, options)
        await first.keep_spare("a", CHECKOUT, options)
        await ready(state_dir)
        assert len(list(state_dir.glob("spares/*/*/home"))) == 1
        assert await second.claim_spare("b") is False
        assert await second.claim_spare("a") is True
        assert await third.claim_spare("a") is False
        await second.start()
        assert (await second.execute("cat repo/file; git -C repo status --short")).stdout == "two\n"
        with pytest.raises(StateError, match=r"start\(\)"):
            await second.claim_spare("a")
        assert list(state_dir.glob("spares/*/*/home")) == []
    finally:
        for machine in (first, second, third):
            await machine.stop()


async def test_a_spare_that_was_being_claimed_when_its_program_was_killed_is_not_offered_again(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, second = LocalMachine(), LocalMachine()
    try:
        await killed.keep_spare("a", "touch x", ExecuteOptions())
        await ready(state_dir)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", _killed)
            with pytest.raises(KeyboardInterrupt):
                await killed.claim_spare("a")
        assert await second.claim_spare("a") is False
        assert list(state_dir.glob("spares/*/*/")) == []
    finally:
        for machine in (killed, second):
            await machine.stop()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


async def test_a_spare_whose_command_failed_is_never_claimed_and_makes_room(state_dir: Path) -> None:
    machine = LocalMachine()
    try:
        await machine.keep_spare("a", "touch x; exit 3", ExecuteOptions())
        await ready(state_dir)
        assert await machine.claim_spare("a") is False
        await machine.keep_spare("a", "touch x", ExecuteOptions())
        await ready(state_dir)
        assert await machine.claim_spare("a") is True
    finally:
        await machine.stop()


async def test_a_spare_is_made_without_the_hosts_files_and_within_its_time(state_dir: Path) -> None:
    machine = LocalMachine()
    try:
        await machine.keep_spare("a", "ls /proc/self/fd > fds; ls /root /sys /etc/shadow > seen", ExecuteOptions())
        await ready(state_dir)
        assert await machine.claim_spare("a") is False  # ls found nothing, and said so
        await machine.keep_spare("b", "sleep 1000", ExecuteOptions(timeout=0.2))
        await ready(state_dir)
        assert await machine.claim_spare("b") is False
    finally:
        await machine.stop()


async def test_in_quiet_only_what_is_executed_runs(machine: LocalMachine) -> None:
    await machine.execute(
        "touch busy; for i in 1 2 3; do (while :; do echo x >> busy; done) & done; setsid sleep 1000 &"
    )
    states = "ps -eo stat=,args= | grep -E 'bash|sleep 1000' | grep -v -e grep -e ' -eo ' | cut -c1"
    async with machine.quiet():
        first = await machine.execute("stat -c %s busy; " + "sleep 0.2; stat -c %s busy")
        assert len(set(first.stdout.split())) == 1
        stopped = await machine.execute("grep -h ^State /proc/[0-9]*/status | grep -c 'T (stopped)'")
        assert int(stopped.stdout) >= 4
    grown = 'a=$(stat -c %s busy); until [ "$(stat -c %s busy)" -gt $a ]; do :; done'
    assert (await machine.execute(grown, ExecuteOptions(timeout=20))).ok
    assert "T" not in (await machine.execute(states)).stdout


async def test_quiet_in_quiet_ends_with_the_outer_one(machine: LocalMachine) -> None:
    await machine.execute("touch busy; (while :; do echo x >> busy; done) &")
    async with machine.quiet():
        async with machine.quiet():
            pass
        sizes = await machine.execute("stat -c %s busy; sleep 0.1; stat -c %s busy")
        assert len(set(sizes.stdout.split())) == 1


async def test_no_call_blocks_the_event_loop(repository: Path, state_dir: Path) -> None:
    machine = LocalMachine()
    with blockbuster_ctx("gitmachine.machines"):
        try:
            await machine.share_objects(repository / ".git" / "objects")
            await machine.claim_spare("a")
            await machine.observer(".")
            await machine.start()
            await machine.execute("cat", ExecuteOptions(stdin="x" * 500_000))
            await machine.write_file("a/b", "x")
            assert await machine.read_file("a/b") == "x"
            assert await machine.list_files("a") == ["b"]
            await machine.keep_spare("a", "true", ExecuteOptions())
            await machine.pause()
            observer = await machine.observer(".")
            assert observer is not None
            assert await observer.read_bytes("/w/a/b") == b"x"
            await machine.resume()
            other = await LocalMachine.connect(str(machine.id))
            async with other.quiet():
                pass
        finally:
            await machine.stop()
    await ready(state_dir)
