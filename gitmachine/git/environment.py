"""The environment of the host's own git: everything it may use is named here, nothing is inherited.

Sources: git(1), git-config(1), gitsecurityboundary; each setting was tried against an attack that it stops.
The credential travels in the environment of the one process that needs it, never in argv or on disk.
"""

from __future__ import annotations

from collections.abc import Mapping

from gitmachine import settings
from gitmachine.git.remote import Remote

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

TOLERATED_FAULTS = ("badTimezone", "missingSpaceBeforeDate", "zeroPaddedFilemode", "nullSha1")
"""git-fsck's names for blemishes in the old history of well-known projects. They endanger nobody."""

_PATH = "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin"

_BASE = {
    "PATH": _PATH,
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_PROTOCOL_FROM_USER": "0",
    # Maintenance, hooks of a lazy fetch, optional locks: a vault's process does what it was told and no more.
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
}
_NO_CONFIG = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}

_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.alternateRefsCommand": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.quotePath": "false",
    # What was received must survive a power cut; `batch` flushes once for all loose objects.
    "core.fsync": "committed,loose-object,reference",
    "core.fsyncMethod": "batch",
    # Several processes may move refs at once; they wait for each other's lock files.
    "core.filesRefLockTimeout": "5000",
    "core.packedRefsTimeout": "10000",
    "safe.bareRepository": "explicit",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.unpackLimit": "1",
    "fetch.recurseSubmodules": "false",
    "fetch.writeCommitGraph": "false",
    "submodule.recurse": "false",
    "push.gpgSign": "false",
    "push.recurseSubmodules": "no",
    "push.followTags": "false",
    "transfer.fsckObjects": "true",
    "transfer.bundleURI": "false",
    "diff.renames": "true",
    **{f"fetch.fsck.{fault}": "warn" for fault in TOLERATED_FAULTS},
}

_NETWORK_CONFIG = {
    "protocol.allow": "never",
    # A connection that moves less than 1 kB/s for 30 s is dead.
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
}


def host_environment(remote: Remote | None = None) -> dict[str, str]:
    """The whole environment of a host git process; with `remote`, one that may talk to that remote only."""
    if remote is None:
        return {**_BASE, **_NO_CONFIG, **_config({**_CONFIG, "protocol.allow": "never"})}
    config = {**_CONFIG, **_NETWORK_CONFIG, f"protocol.{remote.scheme}.allow": "always"}
    if remote.credential is not None:
        config |= {
            "credential.helper": "",
            "http.followRedirects": "false",
            f"http.{remote.url}.extraHeader": f"Authorization: {remote.credential.header()}",
        }
        return {**_BASE, **_NO_CONFIG, **settings.network_environment(), **_config(config)}
    # Whoever can `git push` by hand needs no set-up: his own configuration, helpers and agent, for his own
    # remotes. `insteadOf` may turn https into ssh. ssh has no terminal to ask on (see `HostGit`).
    config |= {"protocol.https.allow": "always", "protocol.ssh.allow": "always"}
    own = {**settings.network_environment(), **settings.credential_environment()}
    return {**_BASE, **own, **_config(config)}


def _config(values: Mapping[str, str]) -> dict[str, str]:
    """Configuration that comes before every file's (GIT_CONFIG_COUNT in git(1))."""
    entries = {"GIT_CONFIG_COUNT": str(len(values))}
    for number, (key, value) in enumerate(values.items()):
        entries[f"GIT_CONFIG_KEY_{number}"] = key
        entries[f"GIT_CONFIG_VALUE_{number}"] = value
    return entries
