"""Reading a session's history: as log entries, and from the vault alone when there is no machine."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Sequence

from gitmachine import settings as environment
from gitmachine.errors import CheckpointNotFound
from gitmachine.events import CommandFinished, Rewound
from gitmachine.git.blame import Blame, BlameLine
from gitmachine.git.chain import Chain, HistoryEntry, chain_of
from gitmachine.git.vault import Change, Vault
from gitmachine.git.verify import Verification, verify
from gitmachine.paths import relative
from gitmachine.sessions import Registry, SessionRecord, SessionStore
from gitmachine.types import ExecutionResult, LogEntry


async def recorded_chain(record: SessionRecord) -> Chain:
    """The history of a session that this host knows, whether or not its machine lives."""
    vault = await Vault.open(environment.load(), None, record.vault)
    return chain_of(vault, record.id)


async def recorded_patch(record: SessionRecord, entry: HistoryEntry) -> str:
    """What an entry changed, as a patch."""
    if not entry.changed or entry.tree is None:
        return ""
    vault = await Vault.open(environment.load(), None, record.vault)
    return await vault.diff(entry.tree_before, entry.tree)


class RecordedTrees:
    """The working trees that a session's entries left, for comparing them with one another. Needs no machine."""

    def __init__(self, vault: Vault, entries: Sequence[HistoryEntry]) -> None:
        self._vault = vault
        self._trees = {entry.number: entry.tree for entry in entries}

    @classmethod
    async def of(cls, record: SessionRecord, entries: Sequence[HistoryEntry]) -> RecordedTrees:
        return cls(await Vault.open(environment.load(), None, record.vault), entries)

    def at(self, number: int) -> str:
        """The tree of an entry; of one without a checkpoint the last before it. Raises CheckpointNotFound."""
        if number in self._trees:
            for earlier in sorted((known for known in self._trees if known <= number), reverse=True):
                if tree := self._trees[earlier]:
                    return tree
        raise CheckpointNotFound(f"there is no checkpoint {number} to compare with")

    async def patch(self, before: int, after: int) -> str:
        """What changed from one entry to another, as a patch."""
        return await self._vault.diff(self.at(before), self.at(after))

    async def counted(self, before: int, after: int) -> tuple[int, int, int]:
        """Files that differ, lines added, and lines taken away."""
        return await self._vault.counted(self.at(before), self.at(after))

    async def changes(self, before: int, after: int) -> list[Change]:
        """The paths that differ."""
        return await self._vault.changes(self.at(before), self.at(after))


async def recorded_blame(record: SessionRecord, path: str, at: int | None) -> list[BlameLine]:
    """As `GitMachine.blame`, of the last checkpoint or that of entry `at`."""
    vault = await Vault.open(environment.load(), None, record.vault)
    chain = chain_of(vault, record.id)
    prefix = f"refs/gitmachine/sessions/{record.id}/"
    refs = await vault.refs(prefix)
    checkpoint = refs.get(f"{prefix}files") if at is None else (await chain.entry(at)).checkpoint
    if checkpoint is None:
        raise CheckpointNotFound(f"session {record.session!r} has no checkpoint to blame")
    blame = Blame(vault, chain, refs[f"{prefix}files"], refs.get(f"{prefix}base"))
    return await blame.file(relative(posixpath.join("/", path), "/"), checkpoint)


async def recorded_verification(record: SessionRecord) -> Verification:
    """As `GitMachine.verify`."""
    vault = await Vault.open(environment.load(), None, record.vault)
    return await verification(vault, Registry().store(record.id))


async def verification(vault: Vault, store: SessionStore) -> Verification:
    """Compares a session's history with what its event log says was written."""
    events = await asyncio.to_thread(store.events.read)
    told = [event for event in events if isinstance(event, CommandFinished | Rewound) and event.entry]
    ref = f"refs/gitmachine/sessions/{store.id}/history"
    return await verify(vault, ref, {event.entry: event.number for event in told})


async def logs_of(chain: Chain, last: int) -> list[LogEntry]:
    """The commands among the newest `last` entries, with their output as the history keeps it."""
    entries = [entry for entry in await chain.entries(last) if entry.kind == "command"]
    outputs = await chain.outputs(entries)
    return [
        LogEntry(entry.command, _result(entry, stdout, stderr), entry.started.timestamp())
        for entry, (stdout, stderr) in zip(entries, outputs, strict=True)
    ]


def _result(entry: HistoryEntry, stdout: str, stderr: str) -> ExecutionResult:
    return ExecutionResult(
        exit_code=entry.exit_code or 0,
        stdout=stdout,
        stderr=stderr,
        timed_out=entry.timed_out,
        truncated=entry.truncated,
        duration=entry.duration,
        output_path=entry.output_path,
    )
