"""The history of a session: a commit for each thing that was done, each with the one before as its parent.

    refs/gitmachine/sessions/<id>/history      the newest entry
    entry.json  stdout  stderr                 the files of an entry

So git's own names are the digests: nothing in an entry, nor an entry before it, can be changed without changing the
name of every later one. `git log --format=%s` over the ref reads as the list of commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gitmachine.errors import CheckpointNotFound, VaultError
from gitmachine.git import loose
from gitmachine.git.objects import Content
from gitmachine.git.parse import Change, compose_commit
from gitmachine.git.vault import Vault
from gitmachine.types import Actor, GitIdentity

ENTRY_FILE = "entry.json"
MAX_OUTPUT_BYTES = 1024 * 1024
"""Of each of stdout and stderr; beyond it the head and the tail."""

_LISTED_FILES = 200
_SUBJECT_CHARACTERS = 200


class FileChange(BaseModel):
    """A path that an entry changed."""

    model_config = ConfigDict(frozen=True)

    path: str
    """As text; bytes that are not UTF-8 are shown as `\\xNN`."""
    status: str
    """A added, D deleted, M modified, T type changed."""


class HistoryEntry(BaseModel):
    """One thing that was done in a session, and the checkpoint that it left."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = 1
    number: int
    """Counts from 0, the start of the session, without gaps. `rewind`, `diff` and `fork` take it."""
    kind: str = "command"
    """command, background, start, recover, fork, rewind, or outside: changes that came by no command."""
    command: str = ""
    exit_code: int | None = None
    started: datetime
    duration: float = 0.0
    """Seconds."""
    timed_out: bool = False
    truncated: bool = False
    actor: str = "python"
    """The door: python, cli, mcp, langchain …"""
    call: str | None = None
    """The door's own id of the call."""
    tree_before: str | None = None
    tree: str | None = None
    """The working tree afterwards. None, as `checkpoint`, when none was taken, and the last one still stands."""
    checkpoint: str | None = None
    tip: str | None = None
    """The session branch afterwards."""
    target: int | None = None
    """The entry that a rewind went back to, or that a fork began at."""
    changed: int = 0
    """How many files."""
    files: tuple[FileChange, ...] = ()
    """The first of them."""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    output_path: str | None = None
    """Where the host keeps the whole output of a truncated command."""
    stage: str = ""
    """on_start: run while the program set the session up; replay: the same, run again in a later machine."""
    whole: bool = True
    """`command` is what was run; False when a secret was taken out of it."""
    cwd: str = ""
    """Where it ran, relative to the checkout."""
    env: tuple[str, ...] = ()
    """Names of variables that it was given beside the session's."""
    sha: str = Field(default="", exclude=True)
    """The entry's own name."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry before it is known where it stands and what it changed."""

    kind: str
    command: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    exit_code: int | None = None
    duration: float = 0.0
    timed_out: bool = False
    truncated: bool = False
    actor: Actor = field(default_factory=Actor)
    stdout: str = ""
    stderr: str = ""
    output_path: str | None = None
    target: int | None = None
    stage: str = ""
    whole: bool = True
    cwd: str = ""
    env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """What is known of the working tree when an entry is written."""

    before: str | None = None
    tree: str | None = None
    checkpoint: str | None = None
    tip: str | None = None
    changes: Sequence[Change] = ()

    @property
    def changed(self) -> bool:
        """There is work in it. The mere word that a command ran may wait for the disk."""
        return self.tree != self.before


class Chain:
    """The entries of one session in its vault."""

    def __init__(self, vault: Vault, ref: str, identity: GitIdentity | None = None) -> None:
        self._vault = vault
        self._ref = ref
        self._identity = identity or GitIdentity()
        self._last: HistoryEntry | None = None

    async def compose(self, draft: Draft, effect: Effect, parent: str | None) -> tuple[HistoryEntry, list[Content]]:
        """The entry that comes behind `parent`, and the objects to write before the ref is moved to its `sha`.

        Raises VaultError when the parent cannot be read.
        """
        before = await self._at(parent)
        entry = _composed(draft, effect, before.number + 1 if before else 0)
        texts = (("stdout", draft.stdout), ("stderr", draft.stderr))
        outputs = [(name, _bounded(text)) for name, text in texts if text]
        contents = [(ENTRY_FILE, entry.model_dump_json(indent=1).encode() + b"\n"), *outputs]
        named = [(name, "100644", loose.object_name("blob", content)) for name, content in contents]
        tree = loose.tree_content(named)
        ended = draft.started + timedelta(seconds=draft.duration)
        commit = compose_commit(
            loose.object_name("tree", tree), [parent] if parent else [], self._identity, _message(entry), ended
        )
        blobs = [("blob", content) for _, content in contents]
        entry = entry.model_copy(update={"sha": loose.object_name("commit", commit)})
        return entry, [*blobs, ("tree", tree), ("commit", commit)]

    def wrote(self, entry: HistoryEntry) -> None:
        """The entry is in the vault, and need not be read there."""
        self._last = entry

    async def entries(self, last: int | None = None) -> list[HistoryEntry]:
        """The newest `last` entries, or all, oldest first."""
        shas = await self.names(last)
        found = await self._vault.contents([f"{sha}:{ENTRY_FILE}" for sha in shas])
        return [_parsed(sha, content) for sha, content in zip(reversed(shas), reversed(found), strict=True)]

    async def names(self, last: int | None = None) -> list[str]:
        """The names of the entries, the newest first."""
        if await self._vault.resolve(self._ref) is None:
            return []
        count = () if last is None else (f"--max-count={last}",)
        answer = await self._vault.git.run(
            "rev-list", "--first-parent", *count, self._ref, "--", git_dir=self._vault.store
        )
        return answer.lines()

    async def entry(self, number: int) -> HistoryEntry:
        """The entry of a number; negative ones count from the newest, -1. Raises CheckpointNotFound."""
        tip = await self._vault.resolve(self._ref)
        newest = await self._at(tip)
        if newest is None or tip is None:
            raise CheckpointNotFound("this session has no history yet")
        back = newest.number - number if number >= 0 else -1 - number
        found = await self._vault.resolve(f"{tip}~{back}") if 0 <= back <= newest.number else None
        if found is None:
            raise CheckpointNotFound(f"there is no checkpoint {number}: history() has 0 to {newest.number}")
        return await self._require(found)

    async def newest(self) -> HistoryEntry | None:
        """The last entry; None in a session from before there was a history."""
        return await self._at(await self._vault.resolve(self._ref))

    async def outputs(self, entries: Sequence[HistoryEntry]) -> list[tuple[str, str]]:
        """stdout and stderr of each entry, as they were kept."""
        specs = [f"{entry.sha}:{name}" for entry in entries for name in ("stdout", "stderr")]
        texts = [(content or b"").decode("utf-8", "replace") for content in await self._vault.contents(specs)]
        return list(zip(texts[::2], texts[1::2], strict=True))

    async def _at(self, sha: str | None) -> HistoryEntry | None:
        if sha is None:
            return None
        if self._last is None or self._last.sha != sha:
            self._last = await self._require(sha)
        return self._last

    async def _require(self, sha: str) -> HistoryEntry:
        return _parsed(sha, (await self._vault.contents([f"{sha}:{ENTRY_FILE}"]))[0])


def chain_of(vault: Vault, session_id: str) -> Chain:
    """A session's history by the session's id, for reading."""
    return Chain(vault, f"refs/gitmachine/sessions/{session_id}/history")


def _composed(draft: Draft, effect: Effect, number: int) -> HistoryEntry:
    listed = [(change.path.decode("utf-8", "backslashreplace"), change.status) for change in effect.changes]
    return HistoryEntry(
        number=number,
        kind=draft.kind,
        command=draft.command.encode("utf-8", "backslashreplace").decode(),
        exit_code=draft.exit_code,
        started=draft.started,
        duration=round(draft.duration, 6),
        timed_out=draft.timed_out,
        truncated=draft.truncated,
        actor=draft.actor.door,
        call=draft.actor.call,
        tree_before=effect.before,
        tree=effect.tree,
        checkpoint=effect.checkpoint,
        tip=effect.tip,
        target=draft.target,
        changed=len(listed),
        files=tuple(FileChange(path=path, status=status) for path, status in listed[:_LISTED_FILES]),
        stdout_bytes=len(draft.stdout.encode("utf-8", "replace")),
        stderr_bytes=len(draft.stderr.encode("utf-8", "replace")),
        output_path=draft.output_path,
        stage=draft.stage,
        whole=draft.whole,
        cwd=draft.cwd,
        env=draft.env,
    )


def _message(entry: HistoryEntry) -> str:
    first = next((line.strip() for line in entry.command.splitlines() if line.strip()), entry.kind)
    subject = "".join(character if character.isprintable() else "?" for character in first[:_SUBJECT_CHARACTERS])
    told = {"Number": entry.number, "Kind": entry.kind, "Exit-Code": entry.exit_code, "Checkpoint": entry.checkpoint}
    return "\n".join([subject, "", *(f"{key}: {value}" for key, value in told.items() if value is not None)])


def _bounded(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_OUTPUT_BYTES:
        return data
    half = MAX_OUTPUT_BYTES // 2
    return data[:half] + f"\n[... {len(data) - 2 * half} bytes cut ...]\n".encode() + data[-half:]


def _parsed(sha: str, content: bytes | None) -> HistoryEntry:
    try:
        entry = HistoryEntry.model_validate_json(content or b"")
    except ValidationError as error:
        raise VaultError(
            f"entry {sha[:12]} of the history cannot be read: verify() says which entries are missing or altered"
        ) from error
    return entry.model_copy(update={"sha": sha})
