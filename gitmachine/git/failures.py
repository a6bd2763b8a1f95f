"""What a failed git said, as one of our errors. Pure: text in, exception out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gitmachine.errors import (
    AuthenticationFailed,
    GitError,
    RemoteUnreachable,
    RepositoryError,
    RepositoryNotFound,
    VaultError,
)
from gitmachine.git.remote import Remote

# git speaks English under LC_ALL=C. The order matters: a server that hides a repository says "not found" and
# git adds "could not read from remote"; every failure of a transport ends in "hung up unexpectedly".
_OWNERSHIP = re.compile(r"dubious ownership in repository at '(?P<path>[^'\n]*)'")
_NOT_FOUND = re.compile(
    r"repository '[^\n]*' not found|Repository not found|does not appear to be a git repository"
    r"|requested URL returned error: 4(?:04|10)|'[^'\n]*' does not exist|repository '[^\n]*' does not exist"
    r"|The project you were looking for could not be found|not valid: is this a git repository",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"Authentication failed|could not read (?:Username|Password)|requested URL returned error: 40[13]"
    r"|Permission denied|Host key verification failed|HTTP Basic: Access denied|Permission to \S+ denied"
    r"|unable to get password from user|Write access to repository not granted|terminal prompts disabled",
    re.IGNORECASE,
)
_MOVED = re.compile(r"requested URL returned error: 30\d|unable to update url base from redirection")
_NOT_GIT = re.compile(r"not valid: is this a git repository|not valid: could not determine hash algorithm")
_UNREACHABLE = re.compile(
    r"Could not resolve|Couldn't resolve|Connection refused|Failed to connect|Couldn't connect|timed out"
    r"|Operation too slow|early EOF|hung up unexpectedly|RPC failed|returned error: (?:5\d\d|429|408)"
    r"|Connection reset|Connection closed|Empty reply|unexpected disconnect|No route to host"
    r"|Network is unreachable|gnutls|SSL|Recv failure|Send failure|unable to access|Broken pipe"
    r"|Could not read from remote repository",
    re.IGNORECASE,
)


def failure(argv: Sequence[str], exit_code: int, stderr: str, remote: Remote | None) -> GitError:
    """The error that a failed git stands for. `stderr` and `argv` are redacted already."""
    kind, message = _local(stderr) if remote is None else _of_remote(stderr, remote)
    return kind(message, argv=argv, exit_code=exit_code, stderr=stderr)


def timed_out(argv: Sequence[str], timeout: float, stderr: str, remote: Remote | None) -> GitError:
    """The error of a git that was killed after `timeout` seconds."""
    if remote is None:
        return VaultError(f"git took longer than {timeout:g} s on the host", argv=argv, exit_code=-9, stderr=stderr)
    message = f"{remote.url} did not answer within {timeout:g} s; check the network, then try again"
    return RemoteUnreachable(message, argv=argv, exit_code=-9, stderr=stderr)


def _local(stderr: str) -> tuple[type[GitError], str]:
    if "No space left on device" in stderr:
        return VaultError, "the disk of the host's state directory is full; free some space, then try again"
    if "Permission denied" in stderr or "Read-only file system" in stderr:
        return VaultError, "the host's state directory cannot be written; check its owner, or set GITMACHINE_HOME"
    return VaultError, "git failed in the host's vault"


def _of_remote(stderr: str, remote: Remote) -> tuple[type[GitError], str]:
    url = remote.url
    if found := _OWNERSHIP.search(stderr):
        path = found["path"]
        return RepositoryError, (
            f"git does not trust {path!r}, because another user owns it; if you do, run "
            f"`git config --global --add safe.directory {path}`"
        )
    if _MOVED.search(stderr):
        return RepositoryError, f"{url} has moved; use its new address (credentials never follow a redirection)"
    if "mismatched algorithms" in stderr:
        return RepositoryError, f"{url} uses SHA-256 object names, which are not supported; use a SHA-1 repository"
    if "fsck error" in stderr:
        return RepositoryError, f"{url} holds objects that git's own check refuses; run `git fsck` there"
    if _NOT_GIT.search(stderr):
        return RepositoryNotFound, f"there is no git repository at {url}; check the address"
    return _of_access(stderr, remote)


def _of_access(stderr: str, remote: Remote) -> tuple[type[GitError], str]:
    url = remote.url
    if _NOT_FOUND.search(stderr):
        hidden = "" if remote.scheme == "file" else ", or these credentials may not see it"
        return RepositoryNotFound, f"there is no repository at {url}{hidden}; check the address"
    if _REFUSED.search(stderr):
        if remote.scheme in ("file", "ssh"):
            return AuthenticationFailed, f"{url} refused access; check that `git ls-remote {url}` works by hand"
        given = "the token" if remote.credential else "access without a token"
        return AuthenticationFailed, f"{url} refused {given}; give one that may read and push there (GITMACHINE_TOKEN)"
    if "No space left on device" in stderr:
        return VaultError, "the disk of the host's state directory is full; free some space, then try again"
    if _UNREACHABLE.search(stderr):
        return RemoteUnreachable, f"{url} could not be reached; check the network, then try again"
    return RepositoryError, f"git failed on {url}"
