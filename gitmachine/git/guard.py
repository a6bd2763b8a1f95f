"""Guard: what automatic commits leave out, and which pushes wait for a person.

It withholds from commits what should never be public: files that hold keys by name or by content, access tokens known
by their form, values that this session was given as secrets, files that the remote would refuse for their size. It
holds pushes that touch the definitions of CI, which run with the repository's own secrets.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch, fnmatchcase
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from gitmachine.git.parse import NO_SHA, Change, combined_changes_of
from gitmachine.git.token_rules import TokenRules

if TYPE_CHECKING:
    from gitmachine.git.vault import Vault

KEY_NAMES = (
    ".env", ".env.*", "*.env", "*.pem", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx", "id_rsa", "id_dsa",
    "id_ecdsa", "id_ed25519", ".netrc", "_netrc", ".pypirc", ".npmrc", ".git-credentials", ".htpasswd",
)  # fmt: skip
HARMLESS_NAMES = (
    ".env.example", ".env.sample", ".env.template", ".env.dist", ".env.defaults", "example.env", "sample.env",
    "template.env",
)  # fmt: skip
CI_PATHS = (
    ".github/workflows/", ".github/actions/", ".gitlab-ci.yml", ".gitlab/", ".circleci/", "Jenkinsfile",
    "azure-pipelines.yml", ".azure-pipelines/", "bitbucket-pipelines.yml", ".drone.yml", ".drone.star",
    ".travis.yml", ".woodpecker.yml", ".woodpecker/", ".buildkite/", "appveyor.yml", ".appveyor.yml",
    ".gitea/workflows/", ".forgejo/workflows/", ".cirrus.yml", ".cirrus.star", ".semaphore/", ".teamcity/",
    "buildspec.yml", "cloudbuild.yaml", "cloudbuild.yml",
)  # fmt: skip

MAX_FILE_BYTES = 100 * 1024**2
"""GitHub's limit for one file, and GitLab's default."""

MIN_SECRET_CHARS = 8
"""Shorter values (`1`, `main`, `debug`) are no secrets; they would be found everywhere."""

_SUBMODULE = "160000"
_OVERLAP_BYTES = 4096
_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    rb"(?:\\[rn]|[\s\"'+,]|[A-Za-z-]{1,30}: [^\n\\]{0,200}){1,40}[A-Za-z0-9+/=]{32}"
    rb"|^PuTTY-User-Key-File-\d:",
    re.MULTILINE,
)

_HAS_KEY = "it contains a private key"
_HAS_TOKEN = "it contains an access token"  # noqa: S105  # a reason, not a token
_HAS_SECRET = "it contains a secret value that this session was given"  # noqa: S105  # a reason, not a secret


class Searcher(Protocol):
    """What a compiled pattern is, too."""

    def search(self, text: bytes, /) -> re.Match[bytes] | None: ...


@dataclass(frozen=True, slots=True)
class Withheld:
    """A changed file that is not part of the commit. The checkpoint in the vault has it."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules. Names are patterns of fnmatch(3) for a file's base name, in any case."""

    names: tuple[str, ...] = KEY_NAMES
    harmless: tuple[str, ...] = HARMLESS_NAMES
    """Exceptions from `names`."""
    contents: bool = True
    """Files are searched for private keys, access tokens and the session's secrets."""
    max_file_bytes: int | None = MAX_FILE_BYTES
    ci_paths: tuple[str, ...] = CI_PATHS
    """Files and, with a final slash, directories at the top of the repository."""

    @classmethod
    def off(cls) -> Guard:
        """A guard that lets everything through."""
        return cls(names=(), contents=False, max_file_bytes=None, ci_paths=())

    async def inspect(
        self, vault: Vault, changes: Sequence[Change], secrets: Iterable[str] = ()
    ) -> tuple[Withheld, ...]:
        """Which of the changed files should not be committed, and why.

        A file that was tracked before is not withheld for its name, nor for a key or token that it had before: somebody
        decided that. Only new contents are read, a piece at a time whatever their size.
        """
        new = [change for change in changes if change.status != "D" and change.new_mode != _SUBMODULE]
        found = {change.path: reason for change in new if (reason := self._fault_of_name(change))}
        found |= await self._too_large(vault, new)
        rest = [change for change in new if change.path not in found]
        found |= await self._telling(vault, rest, tuple(secrets))
        return tuple(Withheld(path, reason) for path, reason in sorted(found.items()))

    async def held(
        self, vault: Vault, old: str | None, new: str, allow: Iterable[str] = (), secrets: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """Paths for whose sake a push of `new` should wait, where the remote's branch is at `old`.

        Looks at every commit that no branch of the remote has, not only at the last: a push publishes them all.
        CI definitions, files above the size limit, and the session's secrets; `allow` are paths, directories
        or patterns that may go.
        """
        if self == Guard.off():
            return ()
        changes = await _unpublished_changes(vault, old, new)
        added = [change for change in changes if change.status != "D" and change.new_mode != _SUBMODULE]
        paths = {change.path for change in changes if _listed(change.path, self.ci_paths)}
        paths |= set(await self._too_large(vault, added))
        if self.contents and (patterns := _secret_patterns(secrets)):
            hits = await _search(vault, {change.new_sha for change in added}, {_HAS_SECRET: patterns})
            paths |= {change.path for change in added if change.new_sha in hits}
        shown = (path.decode("utf-8", "backslashreplace") for path in sorted(paths))
        allowed = tuple(allow)
        return tuple(path for path in shown if not _allowed(path, allowed))

    def _fault_of_name(self, change: Change) -> str | None:
        name = change.path.rpartition(b"/")[2].decode("utf-8", "replace").lower()
        if change.status not in ("A", "T") or any(fnmatchcase(name, pattern) for pattern in self.harmless):
            return None
        if any(fnmatchcase(name, pattern.lower()) for pattern in self.names):
            return "files of this name usually hold secrets"
        return None

    async def _too_large(self, vault: Vault, changes: Sequence[Change]) -> dict[bytes, str]:
        if self.max_file_bytes is None or not changes:
            return {}
        sizes = await vault.sizes({change.new_sha for change in changes})
        limit = self.max_file_bytes
        return {
            change.path: f"it has {sizes[change.new_sha]} bytes, the limit is {limit}"
            for change in changes
            if sizes.get(change.new_sha, 0) > limit
        }

    async def _telling(self, vault: Vault, changes: Sequence[Change], secrets: Sequence[str]) -> dict[bytes, str]:
        if not self.contents or not changes:
            return {}
        known: dict[str, Searcher] = {_HAS_KEY: _KEY, _HAS_TOKEN: TokenRules()}
        patterns = dict(known)
        if searched := _secret_patterns(secrets):
            patterns[_HAS_SECRET] = searched
        hits = await _search(vault, {change.new_sha for change in changes}, patterns)
        suspects = [change for change in changes if change.new_sha in hits]
        before = {change.old_sha for change in suspects if change.old_sha != NO_SHA and change.old_mode != _SUBMODULE}
        had = await _search(vault, before, known)
        return {
            change.path: hits[change.new_sha] for change in suspects if hits[change.new_sha] != had.get(change.old_sha)
        }


async def _unpublished_changes(vault: Vault, old: str | None, new: str) -> list[Change]:
    """What each commit between changed. A merge counts where it differs from all of its parents."""
    known = set((await vault.refs("refs/heads/")).values()) | ({old} if old else set())
    known = {sha for sha, kind in (await vault.kinds(known)).items() if kind == "commit"}
    tips = "".join(f"{line}\n" for line in (new, *(f"^{sha}" for sha in sorted(known))))
    commits = await vault.git.run("rev-list", "--stdin", git_dir=vault.store, stdin=tips.encode())
    answer = await vault.git.run(
        "diff-tree", "--stdin", "-r", "-c", "-z", "--raw", "--root", "--no-renames", "--no-commit-id",
        git_dir=vault.store, stdin=commits.stdout,
    )  # fmt: skip
    return combined_changes_of(answer.stdout)


def _listed(path: bytes, listed: Sequence[str]) -> bool:
    name = path.decode("utf-8", "replace").lower()
    return any(name.startswith(entry.lower()) if entry.endswith("/") else name == entry.lower() for entry in listed)


def _allowed(path: str, allow: Sequence[str]) -> bool:
    return any(path == item or path.startswith(item.rstrip("/") + "/") or fnmatch(path, item) for item in allow)


def _secret_patterns(secrets: Iterable[str]) -> re.Pattern[bytes] | None:
    """Finds each secret as it is, URL-encoded and in base64; None when there is nothing to look for."""
    forms: set[bytes] = set()
    for secret in secrets:
        if len(secret) >= MIN_SECRET_CHARS:
            raw = secret.encode("utf-8", "surrogateescape")
            forms |= {raw, quote(raw, safe="").encode(), base64.b64encode(raw).rstrip(b"=")}
    if not forms:
        return None
    return re.compile(b"|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


async def _search(vault: Vault, shas: Iterable[str], patterns: Mapping[str, Searcher]) -> dict[str, str]:
    """The first pattern, by its name, that each blob contains."""
    names = "".join(f"{sha}\n" for sha in sorted(shas))
    found: dict[str, str] = {}
    if not names:
        return found
    async for sha, window in _windows(
        vault.git.stream("cat-file", "--batch", git_dir=vault.store, stdin=names.encode())
    ):
        if sha not in found:
            hits = (reason for reason, pattern in patterns.items() if pattern.search(window))
            if (reason := next(hits, None)) is not None:
                found[sha] = reason
    return found


async def _windows(answer: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    """The objects in an answer of `cat-file --batch`, in overlapping pieces: a hit is whole in one of them."""
    buffer, sha, left, tail = b"", "", 0, b""
    async for chunk in answer:
        buffer += chunk
        while buffer:
            if left == 0:
                head, separator, rest = buffer.partition(b"\n")
                if not separator:
                    break
                buffer, tail = rest, b""
                sha, kind, *size = head.decode().split(" ")
                left = 0 if kind == "missing" else int(size[0]) + 1  # and a line end
                continue
            piece, buffer = buffer[:left], buffer[left:]
            left -= len(piece)
            window = tail + piece
            yield sha, window
            tail = window[-_OVERLAP_BYTES:]
