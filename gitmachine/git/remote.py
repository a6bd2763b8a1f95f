"""What a user names as repository, taken apart: a clean URL here, the credential there."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, quote_plus, unquote, urlsplit, urlunsplit

from gitmachine import settings
from gitmachine.errors import ConfigurationError

Scheme = Literal["https", "http", "ssh", "file"]
HostKind = Literal["github", "gitlab", "bitbucket", "other"]

REDACTED = "[redacted]"

_TOKEN_USER: dict[HostKind, str] = {
    # What each documents as the user name that goes with a token; the others ignore it or take anything.
    "github": "x-access-token",
    "gitlab": "oauth2",
    "bitbucket": "x-token-auth",
    "other": "x-access-token",
}
_SCP_LIKE = re.compile(r"(?:(?P<user>[^@/\s:]+)@)?(?P<host>\[[0-9a-fA-F:]+\]|[^/:\s@]+):(?P<path>.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# A password with a raw slash is no valid URL, and all the more likely to be pasted: rather too much is hidden.
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)([^\s/'\"]+|[^\s/:'\"]*:[^\s'\"]*)@")
_TOKEN_LIKE = re.compile(r"(gh[a-z]_|github_pat_|glpat-|ATCTT|ATBB)|[A-Za-z0-9_.-]{30,}$")
"""A user name that is a token: `https://TOKEN@host` is common, and so is `https://alice@host`."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and a token for one host. Its `repr` shows no token."""

    username: str
    token: str = field(repr=False)

    def header(self) -> str:
        """The value of an HTTP `Authorization` header (RFC 7617)."""
        return f"Basic {self._basic()}"

    def forms(self) -> tuple[str, ...]:
        """Every spelling of the token that can turn up in a text, the longest first."""
        pair = f"{self.username}:{self.token}"
        alone = base64.b64encode(self.token.encode()).decode()
        spellings = {
            self.token, quote(self.token, safe=""), quote_plus(self.token), quote(pair, safe=""),
            self._basic(), self._basic().rstrip("="), alone, alone.rstrip("="),
            base64.urlsafe_b64encode(pair.encode()).decode().rstrip("="),
            base64.urlsafe_b64encode(self.token.encode()).decode().rstrip("="),
        }  # fmt: skip
        return tuple(sorted(spellings, key=lambda text: (-len(text), text)))

    def _basic(self) -> str:
        return base64.b64encode(f"{self.username}:{self.token}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository somewhere, and how to be let in."""

    url: str
    """Never holds a user name with password or a token; an ssh URL keeps its user (`git@`)."""
    scheme: Scheme
    host: str | None
    """Lower case, without port; None for a local path."""
    credential: Credential | None = None

    @property
    def kind(self) -> HostKind:
        """Whose service it is, as far as the host's name tells."""
        return _kind(self.host)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return self.credential.forms() if self.credential else ()


def parse_remote(repository: str, token: str | None = None) -> Remote:
    """What `repository` means: a URL, `user@host:path`, `file://` or a local path (`~` is expanded).

    User name and password in an http URL become the credential; else `token` does, else the token that the
    environment has for the host. A token that is given for an ssh URL or a local path is refused, since it
    could not be used and its owner would think that it was.

    Raises: ConfigurationError; the message never repeats a password.
    """
    if not repository.strip():
        raise ConfigurationError("the repository is empty; give a URL or a path")
    if _CONTROL.search(repository):
        raise ConfigurationError("the repository contains a control character; give a URL or a path")
    if token is not None and (not token or _CONTROL.search(token) or token != token.strip()):
        raise ConfigurationError("the token is empty or has white space around it; check where it came from")
    if repository.startswith("-"):
        raise ConfigurationError(
            f"the repository {redact(repository, ())!r} starts with '-'; git would take it as an option"
        )
    if "://" in repository:
        return _from_url(repository, token)
    if "::" in repository.split("/", 1)[0]:
        raise ConfigurationError(
            f"{redact(repository, ())!r} asks for a remote helper, which could run any program; use https, ssh, a path"
        )
    if (match := _SCP_LIKE.fullmatch(repository)) and not Path(repository).exists():
        return _from_scp(repository, match, token)
    return _from_path(Path(repository), token)


def _from_url(repository: str, token: str | None) -> Remote:
    shown = redact(repository, ())
    try:
        parts = urlsplit(repository)
        port = parts.port
    except ValueError:  # whose text may repeat a part of the password
        raise ConfigurationError(f"{shown!r} is not a URL; special characters in it must be URL-encoded") from None
    scheme = {"git+ssh": "ssh", "ssh+git": "ssh"}.get(parts.scheme.lower(), parts.scheme.lower())
    if scheme == "file":
        return _from_path(Path(unquote(parts.path)), token)
    host = parts.hostname
    if scheme not in ("https", "http", "ssh"):
        raise ConfigurationError(
            f"{shown!r}: the scheme {scheme!r} is not supported; use https, http, ssh, file or a path"
        )
    if not host or host.startswith("-"):
        raise ConfigurationError(f"{shown!r} has no usable host name")
    if scheme == "ssh":
        _refuse_token(shown, token)
        if (parts.username or "").startswith("-"):
            raise ConfigurationError(f"{shown!r} has a user name that starts with '-'")
        return Remote(_place(parts.username, host, port, "ssh", parts.path), "ssh", host)
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{shown!r} has a query or a fragment; give the address that `git clone` takes")
    return Remote(
        _place(None, host, port, scheme, parts.path),
        "https" if scheme == "https" else "http",
        host,
        _credential(parts.username, parts.password, token, host),
    )


def _place(user: str | None, host: str, port: int | None, scheme: str, path: str) -> str:
    name = f"[{host}]" if ":" in host else host
    netloc = (f"{user}@" if user else "") + name + (f":{port}" if port else "")
    return urlunsplit((scheme, netloc, path.rstrip("/") or "/", "", ""))


def _credential(user: str | None, password: str | None, token: str | None, host: str) -> Credential | None:
    name, secret = unquote(user or ""), unquote(password or "")
    if _TOKEN_LIKE.match(name) and secret in ("", "x-oauth-basic"):
        name, secret = "", name
    # What is written in the call comes before what is written in the URL, and both before the environment.
    secret = token or secret or settings.token_for(host) or ""
    if not secret:
        return None
    if _CONTROL.search(name + secret) or ":" in name:
        raise ConfigurationError("the user name or the token has a character that HTTP does not allow there")
    return Credential(name or _TOKEN_USER[_kind(host)], secret)


def _from_scp(repository: str, match: re.Match[str], token: str | None) -> Remote:
    user, host = match["user"], match["host"].strip("[]").lower()
    if host.startswith("-") or (user or "").startswith("-") or not match["path"] or match["path"].startswith("-"):
        raise ConfigurationError(f"{redact(repository, ())!r} is neither user@host:path nor a path that exists")
    _refuse_token(repository, token)
    return Remote(repository, "ssh", host)


def _from_path(path: Path, token: str | None) -> Remote:
    _refuse_token(str(path), token)
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"{str(path)!r}: {error}") from None
    return Remote(str(path.absolute()), "file", None)


def _refuse_token(where: str, token: str | None) -> None:
    if token is not None:
        raise ConfigurationError(
            f"a token was given, but {redact(where, (token,))!r} is reached without one; leave the token out or "
            "use the https URL"
        )


def _kind(host: str | None) -> HostKind:
    kinds: tuple[HostKind, ...] = ("github", "gitlab", "bitbucket")
    for kind in kinds:
        if host and kind in host.split("."):
            return kind
    return "other"


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, and without user names and passwords in URLs (`ssh://git@` stays)."""
    for secret in sorted((s for s in secrets if s), key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _USERINFO.sub(_without_userinfo, text)


def _without_userinfo(match: re.Match[str]) -> str:
    scheme, userinfo = match[1], match[2]
    if scheme.lower() == "ssh://" and ":" not in userinfo:
        return match[0]
    return f"{scheme}{REDACTED}@"
