"""From the vault to the remote: the session's branch, forward only, and a true account of what became of it.

Success is what the remote reported, never what git's exit code suggests. When the network fails between the
remote's deed and its word, the remote is asked. What the branch does not take goes to a rescue branch; the
vault has the work in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gitmachine.errors import GitError, PushHeld, PushRejected, RemoteUnreachable
from gitmachine.git.failures import failure
from gitmachine.git.guard import Guard
from gitmachine.git.names import session_ref
from gitmachine.git.parse import push_reports, remote_words, without_remote_words
from gitmachine.git.remote import Remote
from gitmachine.git.vault import RETRY_PAUSES_S, Vault
from gitmachine.types import PushOutcome

RESCUE_PREFIX = "gitmachine-rescue"

_MOVED_ON = "the remote branch has commits that this session does not have"


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """What should be published, and what was known when that was decided."""

    session_id: str
    branch: str
    sha: str
    expected: str | None
    """The remote branch's commit when it was last seen; None when it must not exist."""
    guard: Guard
    time: datetime
    """For the name of a rescue branch."""
    allow: tuple[str, ...] = ()
    """Paths that the guard may let through."""
    secrets: tuple[str, ...] = ()
    """Values that must not be in anything that is pushed."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The remote's no, or ours for its sake."""

    reason: str
    argv: tuple[str, ...] = ()
    stderr: str = ""


async def publish(vault: Vault, request: PublishRequest) -> PushOutcome:
    """Brings the session's branch on the remote to `request.sha`; says where the work is.

    Raises: PushHeld by the guard; PushRejected when the branch was not taken, with the rescue branch or the
    vault's ref in its outcome; RemoteUnreachable after three tries, also with an outcome; AuthenticationFailed
    and other RepositoryErrors. The vault has the work after each of them.
    """
    if vault.remote is None:
        return await _kept(vault, request, "this session has no remote")
    if request.sha == request.expected:
        return PushOutcome("nothing", request.sha, request.branch)
    credential = vault.remote.credential
    secrets = (*request.secrets, *((credential.token,) if credential else ()))
    held = await request.guard.held(vault, request.expected, request.sha, request.allow, secrets)
    if held:
        raise await _hold(vault, request, held)
    refusal: _Refusal | None = _Refusal(_MOVED_ON)
    if await _goes_forward(vault, request):
        try:
            refusal = await _push(vault, vault.remote, request.branch, request.sha, request.expected)
            if refusal is not None and (seen := await _own_earlier_push(vault, request)) is not None:
                refusal = await _push(vault, vault.remote, request.branch, request.sha, seen)
        except GitError as error:
            await _note_where_the_work_is(vault, request, error)
            raise
    if refusal is None:
        return PushOutcome("remote", request.sha, request.branch)
    raise await _rescue(vault, vault.remote, request, refusal)


async def _goes_forward(vault: Vault, request: PublishRequest) -> bool:
    if request.expected is None:
        return True
    if (await vault.kinds([request.expected]))[request.expected] != "commit":
        return False
    return await vault.is_ancestor(request.expected, request.sha)


async def _own_earlier_push(vault: Vault, request: PublishRequest) -> str | None:
    """What the remote's branch is at, when that is on the way to what is to be pushed.

    Then it is a push of our own, and whoever made it died before he could write it down.
    """
    seen = (await vault.ask_remote(request.branch)).heads.get(request.branch)
    if seen in (None, request.expected) or (await vault.kinds([seen]))[seen] != "commit":
        return None
    onward = request.expected is None or await vault.is_ancestor(request.expected, seen)
    return seen if onward and await vault.is_ancestor(seen, request.sha) else None


async def _push(vault: Vault, remote: Remote, branch: str, sha: str, expected: str | None) -> _Refusal | None:
    """None when the remote's branch is at `sha`. Network errors are tried three times. Raises: RepositoryError."""
    for pause in (*RETRY_PAUSES_S, None):
        try:
            refusal = await _push_once(vault, remote, branch, sha, expected)
            # curl sends a request again when a connection that it reused breaks: the second finds the first's
            # deed in its way. What the remote has decides.
            return None if refusal is None or await _arrived(vault, branch, sha) else refusal
        except RemoteUnreachable:
            if await _arrived(vault, branch, sha):
                return None
            if pause is None:
                raise
            await asyncio.sleep(pause)
    raise AssertionError("the last try either returns or raises")


async def _push_once(vault: Vault, remote: Remote, branch: str, sha: str, expected: str | None) -> _Refusal | None:
    ref = f"refs/heads/{branch}"
    answer = await vault.git.run(
        "push", "--porcelain", "--no-verify", "--no-follow-tags", f"--force-with-lease={ref}:{expected or ''}",
        "--", remote.url, f"{sha}:{ref}", git_dir=vault.store, remote=remote, check=False,
    )  # fmt: skip
    report = next((report for report in push_reports(answer.stdout) if report.ref == ref), None)
    if report is not None and report.accepted:
        return None
    if report is None:
        raise failure(answer.argv, answer.exit_code, answer.stderr, remote)
    if "[remote failure]" in report.summary:  # it took the pack and never said what it did with it
        raise RemoteUnreachable(
            f"{remote.url} broke off before it reported", argv=answer.argv, exit_code=answer.exit_code,
            stderr=answer.stderr,
        )  # fmt: skip
    stale = "(stale info)" in report.summary or "fetch first" in report.summary or "non-fast-forward" in report.summary
    words = remote_words(answer.stderr)
    reason = _MOVED_ON if stale else f"{report.summary}\n{words}".strip()
    return _Refusal(reason, answer.argv, without_remote_words(answer.stderr))


async def _arrived(vault: Vault, branch: str, sha: str) -> bool:
    try:
        state = await vault.ask_remote(branch)
    except GitError:
        return False
    return state.heads.get(branch) == sha


async def _rescue(vault: Vault, remote: Remote, request: PublishRequest, refusal: _Refusal) -> PushRejected:
    stamp = request.time.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    branch = f"{RESCUE_PREFIX}/{request.session_id}/{stamp}-{request.sha[:10]}"
    try:
        refused = await _push(vault, remote, branch, request.sha, None)
    except GitError as error:
        refused = _Refusal(str(error))
    if refused is None:
        outcome = PushOutcome("rescue", request.sha, branch, refusal.reason)
        where = f"the work is on the remote's branch {branch!r}"
    else:
        outcome = await _kept(vault, request, refusal.reason)
        where = "the work is safe in the vault"
    moved_on = refusal.reason == _MOVED_ON
    remedy = "pull(), then push() again" if moved_on else "ask for the right to push there, or use another session name"
    return PushRejected(
        f"branch {request.branch!r} was not pushed: {refusal.reason}; {remedy} ({where})",
        outcome=outcome, argv=refusal.argv, stderr=refusal.stderr,
    )  # fmt: skip


async def _hold(vault: Vault, request: PublishRequest, held: Sequence[str]) -> PushHeld:
    listed = ", ".join(held[:5]) + (f" and {len(held) - 5} more" if len(held) > 5 else "")
    reason = "the guard holds what runs with the repository's secrets, holds a secret or is too large"
    kept = await _kept(vault, request, reason)
    outcome = PushOutcome(kept.where, kept.sha, kept.ref, reason, tuple(held))
    return PushHeld(
        f"branch {request.branch!r} was not pushed because of {listed}: {reason}; look at them, then "
        "push(allow=[…]) (the work is safe in the vault)",
        outcome=outcome,
    )


async def _note_where_the_work_is(vault: Vault, request: PublishRequest, error: GitError) -> None:
    reason = str(error.args[0])
    outcome = await _kept(vault, request, reason)
    if isinstance(error, RemoteUnreachable):
        error.outcome = outcome
    error.args = (f"branch {request.branch!r} was not pushed: {reason} (the work is safe in the vault)",)


async def _kept(vault: Vault, request: PublishRequest, reason: str) -> PushOutcome:
    ref = session_ref(request.session_id, "push")
    await vault.update_refs({ref: request.sha})
    return PushOutcome("vault", request.sha, ref, reason)
