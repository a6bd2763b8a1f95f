"""Looking: what a capture wants to know of a checkout, asked along with something else in one request."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gitmachine.git import text
from gitmachine.git.parse import compose_commit
from gitmachine.machine import Step
from gitmachine.types import ExecuteOptions, ExecutionResult, GitIdentity

_COMMIT_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Made:
    """A commit that the machine has made by itself."""

    sha: str
    problem: str | None = None
    """Why the index did not follow, when it did not."""

    @classmethod
    def read(cls, result: ExecutionResult) -> Made | None:
        """What the step of a `Proposal` came to."""
        lines = [line.removeprefix("made ") for line in result.stdout.splitlines() if line.startswith("made ")]
        problem = None if result.exit_code == 0 else result.stderr.strip() or f"exit code {result.exit_code}"
        return cls(lines[0], problem) if lines else None


@dataclass(frozen=True, slots=True)
class Looked:
    """What the machine answered, not yet read."""

    refs: Mapping[str, str]
    """What the vault had of the session when the machine was asked."""
    snapshot: ExecutionResult
    history: ExecutionResult
    commit: Made | None = None

    @classmethod
    def read(cls, refs: Mapping[str, str], answers: Sequence[ExecutionResult] | None) -> Looked | None:
        """From the results of the steps in their order."""
        if answers is None:
            return None
        snapshot, history, *rest = answers
        return cls(refs, snapshot, history, Made.read(rest[0]) if rest else None)

    def fits(self, refs: Mapping[str, str]) -> bool:
        """Nothing was captured since, which this answer might be older than."""
        return _of_machine(self.refs) == _of_machine(refs)

    def confirms(self, tree: str, known: str) -> bool:
        """It says nothing else than what was captured already, by whomever."""
        state = [line for line in self.history.stdout.splitlines() if line.startswith(("head ", "ref "))]
        return f"tree {tree}" in self.snapshot.stdout.splitlines() and "\n".join(state) == known


@dataclass(frozen=True, slots=True)
class Proposal:
    """A commit that the machine can make by itself, if all is as the host thinks it is."""

    branch: str
    tip: str
    identity: GitIdentity
    message: str
    when: datetime

    @classmethod
    def now(cls, branch: str, tip: str, identity: GitIdentity, message: str) -> Proposal:
        return cls(branch, tip, identity, message, datetime.now(UTC))

    def step(self, repository: str, shadow: str) -> Step:
        """To follow the snapshot that left its tree in `shadow`. Raises ConfigurationError as `compose_commit`."""
        composed = compose_commit(text.EMPTY_TREE, [], self.identity, self.message, self.when)
        environment = {
            "GM_REPO": repository,
            "GM_SHADOW": shadow,
            "GM_BRANCH": self.branch,
            "GM_TIP": self.tip,
            "GM_REST": base64.b64encode(composed.partition(b"\n")[2]).decode(),
            "GM_REASON": "gitmachine: commit",
        }
        options = ExecuteOptions(env={**text.machine_environment(), **environment}, timeout=_COMMIT_LIMIT_S)
        return Step(text.script("commit"), options)


def _of_machine(refs: Mapping[str, str]) -> dict[str, str]:
    """The refs that a capture moves, but for the history, to which others may add at any time."""
    return {name: sha for name, sha in refs.items() if name not in ("history", "remote")}
