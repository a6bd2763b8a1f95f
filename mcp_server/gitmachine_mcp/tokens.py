"""Static bearer tokens for HTTP: one line a caller, `name:token`, or a token alone."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl

from gitmachine.errors import ConfigurationError
from gitmachine_mcp.server import Access

_SHORTEST = 16
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_DEFAULT_NAME = "default"


class Tokens:
    """Knows callers by their tokens; keeps digests only."""

    def __init__(self, lines: str) -> None:
        """Raises ConfigurationError; its message repeats no token."""
        self._callers: list[tuple[bytes, str]] = []
        for number, line in enumerate(lines.splitlines(), 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            name, colon, token = text.partition(":")
            if not colon:
                name, token = _DEFAULT_NAME, text
            if not _NAME.fullmatch(name) or len(token.strip()) < _SHORTEST:
                raise ConfigurationError(
                    f"line {number} of the tokens: `name:token` or `token`, a token has at least {_SHORTEST} characters"
                )
            self._callers.append((_digest(token.strip()), name))
        if not self._callers:
            raise ConfigurationError("there is no token: give one in GITMACHINE_MCP_TOKEN or in --token-file")

    @classmethod
    def load(cls, path: Path) -> Tokens:
        """Raises ConfigurationError."""
        try:
            return cls(path.read_text())
        except OSError as error:
            raise ConfigurationError(f"the token file {path} cannot be read: {error.strerror}") from error

    async def verify_token(self, token: str) -> AccessToken | None:
        """Compares with every token, in constant time."""
        digest = _digest(token)
        names = [name for known, name in self._callers if hmac.compare_digest(known, digest)]
        return AccessToken(token=token, client_id=names[0], scopes=[]) if names else None

    def access(self) -> Access:
        """For `build_server`. Static tokens have no issuer, so none is announced."""
        settings = AuthSettings(issuer_url=AnyHttpUrl("https://gitmachine.invalid"), resource_server_url=None)
        return Access(self, settings)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
