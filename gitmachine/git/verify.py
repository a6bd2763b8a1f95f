"""Is a session's history what was written? Every object of it is read again and named anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from gitmachine.errors import GitError
from gitmachine.git import loose
from gitmachine.git.chain import ENTRY_FILE, HistoryEntry
from gitmachine.git.vault import Vault

_AT_ONCE = 50
_FILES = (ENTRY_FILE, "stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the history found."""

    entries: int
    """How many were read and are as they were written."""
    problems: tuple[str, ...]
    """What is wrong, each naming the entry."""

    @property
    def ok(self) -> bool:
        return not self.problems


async def verify(vault: Vault, ref: str, expected: Mapping[str, int]) -> Verification:
    """Checks the chain at `ref`. `expected` are the entries, with their numbers, that the event log knows of."""
    tip = await vault.resolve(ref)
    if tip is None:
        missing = tuple(f"entry {number} ({sha[:12]}) is missing" for sha, number in expected.items())
        return Verification(0, missing)
    walked = await vault.git.run("rev-list", "--first-parent", tip, "--", git_dir=vault.store, check=False)
    names = walked.lines() or [tip]
    problems: list[str] = []
    entries: list[HistoryEntry] = []
    for start in range(0, len(names), _AT_ONCE):
        good, bad = await _read(vault, names[start : start + _AT_ONCE])
        entries += good
        problems += bad
    if walked.exit_code != 0:
        problems.append(f"the history is broken behind entry {names[-1][:12]}: what was before cannot be read")
    problems += _gaps(entries, names)
    reached = set(names)
    problems += [f"entry {n} ({sha[:12]}) is missing" for sha, n in expected.items() if sha not in reached]
    problems += await _lost_checkpoints(vault, entries)
    return Verification(len(entries), tuple(problems))


async def _read(vault: Vault, names: Sequence[str]) -> tuple[list[HistoryEntry], list[str]]:
    try:
        return await _read_at_once(vault, names)
    except GitError as error:
        if len(names) == 1:
            return [], [f"entry {names[0][:12]} cannot be read: {error.stderr.strip() or error}"]
    good: list[HistoryEntry] = []
    bad: list[str] = []
    for name in names:
        one, wrong = await _read(vault, [name])
        good += one
        bad += wrong
    return good, bad


async def _read_at_once(vault: Vault, names: Sequence[str]) -> tuple[list[HistoryEntry], list[str]]:
    asked = [spec for name in names for spec in (name, f"{name}^{{tree}}", *(f"{name}:{file}" for file in _FILES))]
    found = await vault.objects(asked)
    good: list[HistoryEntry] = []
    bad: list[str] = []
    width = 2 + len(_FILES)
    for index, name in enumerate(names):
        group = found[index * width : (index + 1) * width]
        wrong = _wrong(name, group)
        if wrong is None:
            try:
                content = group[2][2] if group[2] else b""
                good.append(HistoryEntry.model_validate_json(content).model_copy(update={"sha": name}))
                continue
            except ValidationError:
                wrong = "is not an entry"
        bad.append(f"entry {_number(group)}({name[:12]}) {wrong}")
    return good, bad


def _wrong(name: str, group: Sequence[tuple[str, str, bytes] | None]) -> str | None:
    commit, tree, entry = group[:3]
    if commit is None or tree is None or entry is None:
        return "is missing, or part of it"
    if commit[0] != name:
        return "has been altered"
    listed = {row.rpartition(b"\0")[0].partition(b" ")[2] for row in _rows(tree[2])}
    for file, there in zip(_FILES, group[2:], strict=True):
        if file.encode() in listed and there is None:
            return f"lacks its {file}"
    if any(part and loose.object_name(part[1], part[2]) != part[0] for part in group):
        return "has been altered"
    return None


def _rows(tree: bytes) -> list[bytes]:
    """The entries of a tree object, without the names of what they are."""
    rows = []
    while tree:
        end = tree.find(b"\0")
        if end < 0:
            break
        rows.append(tree[: end + 1])
        tree = tree[end + 21 :]
    return rows


def _number(group: Sequence[tuple[str, str, bytes] | None]) -> str:
    try:
        return f"{HistoryEntry.model_validate_json(group[2][2] if group[2] else b'').number} "
    except ValidationError:
        return ""


def _gaps(entries: Sequence[HistoryEntry], names: Sequence[str]) -> list[str]:
    by_name = {entry.sha: entry for entry in entries}
    problems = []
    for newer, older in zip(names, [*names[1:], None], strict=True):
        entry = by_name.get(newer)
        before = by_name.get(older) if older else None
        if entry is None or (older is not None and before is None):
            continue
        expected = before.number + 1 if before else 0
        if entry.number != expected:
            problems.append(f"entry {entry.number} ({newer[:12]}) stands where {expected} is due")
    return problems


async def _lost_checkpoints(vault: Vault, entries: Sequence[HistoryEntry]) -> list[str]:
    wanted = {entry.checkpoint: entry.number for entry in reversed(entries) if entry.checkpoint}
    kinds = await vault.kinds(wanted)
    return [f"checkpoint {number} ({sha[:12]}) is missing" for sha, number in wanted.items() if kinds[sha] != "commit"]
