"""Where a session begins: the commit to check out, and the one that its changes are counted from."""

from __future__ import annotations

from gitmachine.config import SessionConfig
from gitmachine.errors import BranchNotFound, ConfigurationError
from gitmachine.git.branch import SessionBranch
from gitmachine.git.vault import RemoteState, Vault
from gitmachine.sessions import SessionRecord


async def where_to_begin(
    config: SessionConfig,
    vault: Vault,
    branch: SessionBranch,
    remote: RemoteState,
    earlier: SessionRecord | None,
) -> tuple[str | None, str | None]:
    """The commit to check out, and the one that the session's changes are counted from. None in an empty repository."""
    base = base_commit(config, remote)
    theirs = remote.heads.get(config.session)
    ours = (await branch.refs()).get("tip") if earlier else None
    if ours is not None:
        begun = (await branch.refs()).get("base")
        # What the vault has and the remote lacks is work that could not be pushed: it goes on from there. So it does
        # when something is not committed, for that stands on our commit; pull() brings the remote's.
        behind = theirs is not None and theirs != ours and await vault.is_ancestor(ours, theirs)
        return (theirs if behind and not await branch.is_uncommitted() else ours), begun
    if theirs is not None:
        return theirs, theirs
    if base is None and config.base is not None:
        base = await vault.resolve(config.base)
        if base is None:
            known = ", ".join(sorted(remote.heads)) or "none"
            raise BranchNotFound(
                f"base {config.base!r} is no branch, tag or commit of {_address(vault)}; branches: {known}"
            )
    if base is None and remote.heads:
        known = ", ".join(sorted(remote.heads))
        raise BranchNotFound(f"{_address(vault)} names no default branch that exists; give base= one of: {known}")
    refuse_clash(config.session, remote)
    return base, base


def base_commit(config: SessionConfig, remote: RemoteState) -> str | None:
    if config.base is not None:
        return remote.heads.get(config.base) or remote.tags.get(config.base)
    return remote.heads.get(remote.default_branch or "")


def refuse_clash(session: str, remote: RemoteState) -> None:
    """A branch `a` and a branch `a/b` cannot both exist (git-check-ref-format(1)); better said now than at the push."""
    for head in remote.heads:
        if session.startswith(f"{head}/") or head.startswith(f"{session}/"):
            raise ConfigurationError(
                f"session {session!r} cannot be pushed beside the remote's branch {head!r}: choose another name"
            )


def _address(vault: Vault) -> str:
    return vault.remote.url if vault.remote else "the repository"
