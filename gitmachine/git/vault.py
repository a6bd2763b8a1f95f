"""Vault: the host's durable store for one remote, and the only one who talks to it.

    <state>/vaults/<name>/upstream.git    what was fetched from the remote; its objects are what machines may read
    <state>/vaults/<name>/sessions.git    refs/gitmachine/sessions/<id>/…; borrows upstream's objects

Two repositories, because what one session keeps to itself must not be readable in another session's machine.
Nothing is ever pruned here. Everything has mode 0700.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from gitmachine.errors import ConfigurationError, GitError, RemoteUnreachable, RepositoryError, VaultError
from gitmachine.git import loose, loose_refs
from gitmachine.git.host import HostGit
from gitmachine.git.left_locks import PATIENCE, past_left_locks
from gitmachine.git.names import SESSION_REFS, check_session_ref
from gitmachine.git.objects import Content, ObjectStore
from gitmachine.git.parse import SHA, Change, Commit, RemoteState, below, remote_state
from gitmachine.git.quarantine import MAX_PACK_BYTES, Claim, take_in
from gitmachine.git.remote import Remote
from gitmachine.git.turns import in_turn, turn
from gitmachine.locks import FileLock
from gitmachine.settings import Settings
from gitmachine.together import both

__all__ = ["Change", "Commit", "RemoteState", "Vault", "vault_name"]

RETRY_PAUSES_S = (0.3, 1.2)
"""Between the tries of a fetch or push that the network failed."""

_LOCK_WAIT_S = 900.0
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def vault_name(remote: Remote | None) -> str:
    """The directory of a remote's vault: something to read, and a hash of the URL.

    The credential has no part in it, since many tokens live for an hour and the work must be found again after.
    Who may not read the remote fails at the fetch that every session begins with, before any object is shared.
    """
    if remote is None:
        raise ConfigurationError("a vault without a remote needs a name")
    readable = re.sub(r"^[a-z]+://|\.git$", "", remote.url)
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", readable).strip("-")[-60:].strip("-")
    return f"{slug or 'repository'}-{hashlib.sha256(remote.url.encode()).hexdigest()[:12]}"


class Vault(ObjectStore):
    """Where a session's work is safe. Made by `open`; any number of processes may have the same one open."""

    def __init__(self, git: HostGit, path: Path, remote: Remote | None) -> None:
        super().__init__(git, path / "sessions.git")
        self.path = path
        self.upstream = path / "upstream.git"
        self.remote = remote
        self._known: tuple[str, ...] | None = None

    @classmethod
    async def open(cls, settings: Settings, remote: Remote | None, name: str | None = None) -> Vault:
        """The vault of a remote, made when it is not there yet; with None one that has only sessions.

        Raises: VaultError when the state directory cannot be written.
        """
        name = name or vault_name(remote)
        if not _NAME.fullmatch(name) or name.startswith("."):
            raise ConfigurationError(f"{name!r} cannot be a vault's name")
        vault = cls(HostGit(), settings.vaults / name, remote)
        try:
            await vault._make(settings)
        except OSError as error:
            raise VaultError(
                f"the vault {vault.path} cannot be made: {error.strerror}; check who owns the directory, or set "
                "GITMACHINE_HOME to one that can be written"
            ) from error
        return vault

    @property
    def name(self) -> str:
        """What `open` finds this vault by."""
        return self.path.name

    @property
    def upstream_objects(self) -> Path:
        """The object directory that machines may read."""
        return self.upstream / "objects"

    @property
    def git(self) -> HostGit:
        return self._git

    async def fetch(self) -> RemoteState:
        """What the remote has now, brought into the vault. One request when nothing is new.

        Network errors are tried three times in about two seconds. Branches and tags that the remote no longer
        has are forgotten, their commits kept. Raises: RepositoryError and its kinds.
        """
        if self.remote is None:
            return RemoteState()
        for pause in RETRY_PAUSES_S:
            try:
                return await self._fetch_once(self.remote)
            except RemoteUnreachable:
                await asyncio.sleep(pause)
        return await self._fetch_once(self.remote)

    async def last_known(self, default_branch: str | None) -> RemoteState:
        """What the remote had when it was last fetched. Its default branch is the caller's to know."""
        ours = await self._refs(self.upstream)
        heads = below(ours, "refs/heads/")
        return RemoteState(heads, below(ours, "refs/tags/"), default_branch if default_branch in heads else None)

    async def ask_remote(self, *branches: str) -> RemoteState:
        """What the remote has now, without fetching it; of the branches named, or all."""
        if self.remote is None:
            return RemoteState()
        patterns = [f"refs/heads/{branch}" for branch in branches]
        answer = await self._git.run(
            "ls-remote", "--symref", "--", self.remote.url, *patterns, git_dir=self.upstream, remote=self.remote
        )
        if re.search(rb"(?m)^[0-9a-f]{64}\t", answer.stdout):
            raise RepositoryError(f"{self.remote.url} uses SHA-256 object names; only SHA-1 repositories can be used")
        return remote_state(answer.stdout)

    async def receive(
        self,
        pack: bytes | AsyncIterator[bytes] | None,
        refs: Mapping[str, str | None],
        *,
        tips: Sequence[str] = (),
        max_pack_bytes: int = MAX_PACK_BYTES,
    ) -> None:
        """Takes a pack from a machine and moves a session's refs, all or none; on return both are on disk.

        The pack may be thin, and None when everything is there already. A ref's value is a commit or a tree;
        None deletes the ref. `tips` are objects to verify for which the caller will make refs of his own.
        Raises: Quarantined when the pack or a ref does not pass; nothing has changed then.
        """
        for ref in refs:
            check_session_ref(ref)
        tips = sorted({sha for sha in refs.values() if sha is not None} | set(tips))
        session = next(iter(refs), SESSION_REFS).removeprefix(SESSION_REFS).partition("/")[0]
        # Git's --glob would read the refs of all sessions to find those of one.
        own = (await self.refs(f"{SESSION_REFS}{session}/")).values() if session else ()
        claim = Claim(tips, [*await self._upstream_heads(), *dict.fromkeys(own)])
        await take_in(self._git, self.store, pack, claim, max_pack_bytes)
        await self.update_refs(refs)

    async def update_refs(self, updates: Mapping[str, str | None], *, durable: bool = True) -> None:
        """Sets session refs in the order given, or deletes those whose value is None.

        A branch that makes room for another (`a` for `a/b`) is deleted before, since git cannot do both at once.
        Without `durable` a power cut, but no killed process, may undo it. Raises: VaultError; nothing has changed then.
        """
        gone = [check_session_ref(ref) for ref, sha in updates.items() if sha is None]
        kept = {check_session_ref(ref): sha for ref, sha in updates.items() if sha is not None}
        if not gone and await self._moved(kept, durable=durable):
            return
        first = [ref for ref in gone if _in_the_way(ref, kept)]
        await self._transaction([_delete(ref) for ref in first])
        await self._transaction(
            [_delete(ref) for ref in gone if ref not in first] + [_update(ref, sha) for ref, sha in kept.items()]
        )

    async def _moved(self, refs: Mapping[str, str], *, durable: bool) -> bool:
        move = partial(loose_refs.move, self.store, refs, durable=durable)
        try:
            return await in_turn(self.store / loose_refs.TURN, move)
        except OSError as error:
            raise VaultError(f"the vault {self.path} could not move the session's refs: {error.strerror}") from error

    async def keep(self, contents: Sequence[Content], refs: Mapping[str, str], *, durable: bool) -> None:
        """Writes objects, then moves session refs to them: `write_objects` and `update_refs` in one go."""
        unflushed = self._take_unflushed() if durable else []
        names = {check_session_ref(ref): sha for ref, sha in refs.items()}

        def at_once() -> tuple[list[str], bool]:
            written = loose.write(self.store / "objects", contents, durable=durable)
            loose.flush(self.store / "objects", unflushed)
            try:
                return written, loose_refs.move(self.store, names, durable=durable)
            except BlockingIOError:
                return written, False

        try:
            written, moved = await asyncio.to_thread(at_once)
        except OSError as error:
            self._unflushed += unflushed
            raise self._unwritable(error) from error
        if not durable:
            self._unflushed += written
        if not moved:
            await self.update_refs(refs, durable=durable)

    async def refs(self, prefix: str) -> dict[str, str]:
        """Object by full name of the refs below a prefix: sessions' ones, or the remote's as last fetched."""
        if prefix.startswith(SESSION_REFS) and prefix.endswith("/"):
            return await asyncio.to_thread(loose_refs.read, self.store, prefix)
        repository = self.store if prefix.startswith("refs/gitmachine/") else self.upstream
        found = await self._refs(repository, prefix.rstrip("/"))
        return {name: sha for name, sha in found.items() if name.startswith(prefix)}

    async def resolve(self, name: str) -> str | None:
        """The object that a ref, a branch or tag of the remote, or an expression (`main~2`) names; else None."""
        ours = name.startswith("refs/gitmachine/") or SHA.match(name)
        # Any 40 hex digits are a name to rev-parse; `^{object}` asks whether there is such an object.
        asked = f"{name}^{{object}}" if SHA.fullmatch(name) else name
        answer = await self._git.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", asked,
            git_dir=self.store if ours else self.upstream, check=False,
        )  # fmt: skip
        return answer.text if answer.exit_code == 0 and SHA.fullmatch(answer.text) else None

    async def share(self, tips: Sequence[str], directory: Path, *, base: str | None = None) -> None:
        """Makes `directory` an object directory with what the tips reach and the remote does not have.

        With `upstream_objects` beside it that is complete, and it has nothing of any other session. What a tip that
        is a tree has in common with the remote's commit `base` is left out, too.
        """
        await asyncio.to_thread((directory / "pack").mkdir, parents=True, exist_ok=True)
        lines = [*tips, *(f"^{sha}" for sha in await self._upstream_heads())]
        if base is not None:
            lines.append(f"^{base}^{{tree}}")
        await self._git.run(
            "pack-objects", "--revs", "--delta-base-offset", "-q", str(directory / "pack" / "pack"),
            git_dir=self.store, stdin="".join(f"{line}\n" for line in lines).encode(),
        )  # fmt: skip

    async def _make(self, settings: Settings) -> None:
        ready = self.path / "ready"
        if await asyncio.to_thread(ready.exists):
            return
        await asyncio.to_thread(_make_directories, settings, self.path)
        async with turn(self.path / "make.lock") as git:
            if await asyncio.to_thread(ready.exists):  # by now, and perhaps in use
                return
            for repository in (self.upstream, self.store):
                await asyncio.to_thread(_clear_init, repository)
                await git.run(
                    "init", "--quiet", "--bare", "--template=", "--object-format=sha1", "--initial-branch=main",
                    str(repository), git_dir=None,
                )  # fmt: skip
            await asyncio.to_thread(_borrow, self.store, self.upstream, ready)

    def _lock(self, file: str) -> FileLock:
        return FileLock(self.path / file, f"the vault {self.name}")

    async def _fetch_once(self, remote: Remote) -> RemoteState:
        if await asyncio.to_thread(_has_refs, self.upstream):
            state, ours = await asyncio.gather(self.ask_remote(), self._refs(self.upstream))
            if _same(state, ours):
                self._known = tuple(dict.fromkeys(state.heads.values()))
                return state
            ours = await self._fetched(remote)
        else:  # nothing that it could say makes the fetch needless
            state, ours = await both(self.ask_remote(), self._fetched(remote))
        # The remote may have moved since it was asked: what was fetched is the truth.
        heads = below(ours, "refs/heads/")
        self._known = tuple(dict.fromkeys(heads.values()))
        default = state.default_branch if state.default_branch in heads else None
        return RemoteState(heads, below(ours, "refs/tags/"), default)

    async def _fetched(self, remote: Remote) -> dict[str, str]:
        """All refs of upstream after a fetch."""
        async with self._lock("fetch.lock").exclusive(timeout=_LOCK_WAIT_S):
            await past_left_locks(partial(self._fetch_from, remote), self.upstream)
            return await self._refs(self.upstream)

    async def _fetch_from(self, remote: Remote) -> None:
        await self._git.run(
            *PATIENCE, "fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--force",
            "--update-shallow", "--no-auto-maintenance", "--", remote.url,
            "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*",
            git_dir=self.upstream, remote=remote,
        )  # fmt: skip

    async def _upstream_heads(self) -> tuple[str, ...]:
        """Commits of the remote's branches. May be from an earlier fetch: they are in the vault for ever."""
        if self._known is None:
            self._known = tuple(dict.fromkeys((await self._refs(self.upstream, "refs/heads")).values()))
        return self._known

    async def _transaction(self, commands: Sequence[str]) -> None:
        if not commands:
            return
        names = [command.split("\0")[0].split(" ", 1)[1] for command in commands]
        try:
            async with turn(self.store / loose_refs.TURN) as git:
                await asyncio.to_thread(loose_refs.clear, self.store, names)
                await git.run(
                    "update-ref", "--stdin", "-z", git_dir=self.store,
                    stdin="".join(commands).encode("utf-8", "surrogateescape"),
                )  # fmt: skip
        except GitError as error:
            raise VaultError(
                "the vault could not move the session's refs",
                argv=error.argv, exit_code=error.exit_code, stderr=error.stderr,
            ) from error  # fmt: skip
        except OSError as error:
            raise VaultError(f"the vault {self.path} could not move the session's refs: {error.strerror}") from error


def _has_refs(repository: Path) -> bool:
    return (repository / "packed-refs").exists() or any((repository / "refs").glob("*/*"))


def _same(state: RemoteState, ours: Mapping[str, str]) -> bool:
    return dict(state.heads) == below(ours, "refs/heads/") and dict(state.tags) == below(ours, "refs/tags/")


def _in_the_way(ref: str, kept: Mapping[str, str]) -> bool:
    return any(new.startswith(f"{ref}/") or ref.startswith(f"{new}/") for new in kept)


def _update(ref: str, sha: str) -> str:
    return f"update {ref}\0{sha}\0\0"


def _delete(ref: str) -> str:
    return f"delete {ref}\0\0"


def _make_directories(settings: Settings, path: Path) -> None:
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    settings.vaults.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def _clear_init(repository: Path) -> None:
    """Removes the locks of a `git init` that was killed: another one would stop at them."""
    for lock in repository.glob("*.lock"):
        lock.unlink(missing_ok=True)


def _borrow(store: Path, upstream: Path, ready: Path) -> None:
    """Lets the store see upstream's objects, and where upstream's history was cut off (a shallow remote)."""
    # Relative, so that the state directory can be moved.
    (store / "objects" / "info" / "alternates").write_text(f"../../{upstream.name}/objects\n")
    shallow = store / "shallow"
    if not shallow.is_symlink():
        shallow.symlink_to(f"../{upstream.name}/shallow")
    ready.touch()
