"""Reading a session's history: as log entries, and from the vault alone when there is no machine."""

from __future__ import annotations

from gitmachine import settings as environment
from gitmachine.git.chain import Chain, HistoryEntry, chain_of
from gitmachine.git.vault import Vault
from gitmachine.sessions import SessionRecord
from gitmachine.types import ExecutionResult, LogEntry


async def recorded_chain(record: SessionRecord) -> Chain:
    """The history of a session that this host knows, whether or not its machine lives."""
    vault = await Vault.open(environment.load(), None, record.vault)
    return chain_of(vault, record.id)


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
