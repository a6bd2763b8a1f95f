"""What envd knows of its sandbox: processes, users, paths; and how it says no.

Sources: e2b-dev/infra `packages/envd/internal/{permissions,execcontext}`.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
from dataclasses import dataclass, field
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from tests.e2b_endpoint.box import HOME, Box, GuestGone, GuestRefused
from tests.e2b_endpoint.clock import GuestClock
from tests.e2b_endpoint.processes import Processes

Context = RequestContext[Any, Any]

DEFAULT_USER = "user"
HOMES = {"user": HOME, "root": "/root"}
"""Both are uid 1000 here: a deviation. bubblewrap gives a sandbox one user, and E2B's root owns nothing of ours."""


@dataclass(slots=True)
class Guest:
    """What envd knows of the sandbox that it runs in."""

    box: Box
    env: dict[str, str]
    clock: GuestClock = field(default_factory=GuestClock)
    processes: Processes = field(init=False)

    def __post_init__(self) -> None:
        self.processes = Processes(self.box)


def user_of(authorization: str | None) -> str:
    """The user of a Basic header with an empty password (permissions/authenticate.go). Raises ConnectError."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return DEFAULT_USER
    try:
        name = base64.b64decode(value).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return DEFAULT_USER
    if name not in HOMES:
        raise ConnectError(Code.UNAUTHENTICATED, f"invalid username: '{name}'")
    return name


def resolve(path: str, user: str) -> str:
    """permissions/path.go: ExpandAndResolve. Raises ConnectError."""
    if path.startswith("~"):
        if path[1:2] not in ("", "/", "\\"):
            raise ConnectError(
                Code.INVALID_ARGUMENT,
                f"failed to expand path '' for user '{user}': cannot expand user-specific home dir",
            )
        path = posixpath.join(HOMES[user], path[1:].lstrip("/"))
    if not path:
        return HOME  # the template's default directory, whoever the user
    if posixpath.isabs(path):
        return path
    return posixpath.normpath(posixpath.join(HOMES[user], path))


def connect_error(error: GuestRefused | GuestGone) -> ConnectError:
    if isinstance(error, GuestGone):
        return ConnectError(Code.UNAVAILABLE, "the connection to the sandbox ended before the stream completed")
    code = Code.RESOURCE_EXHAUSTED if error.code == "no_space" else Code(error.code)
    return ConnectError(code, str(error))
