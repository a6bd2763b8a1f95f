"""What was asked of the endpoint, whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_plus


@dataclass(slots=True)
class Recorded:
    """One request, from the moment its head was there; `body` grows while it comes in."""

    index: int
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)
    status: int | None = None
    """None: not answered yet, or never."""
    answered_bytes: int = 0
    """Of the answer's body."""
    cut: bool = False
    """A pause, or the end of its sandbox, has cut it off."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def sandbox_id(self) -> str | None:
        """Of the sandbox that it is about: by its path in the control plane, by its header at the edge."""
        parts = self.path.removeprefix("/v2").split("/")
        if parts[1:2] == ["sandboxes"] and len(parts) > 2:
            return parts[2]
        return self.header("e2b-sandbox-id")

    @property
    def name(self) -> str:
        """Method and path without ids: `POST /sandboxes/*/pause`."""
        path = self.path
        if self.path.removeprefix("/v2").startswith("/sandboxes/") and self.sandbox_id is not None:
            path = path.replace(self.sandbox_id, "*")
        return f"{self.method} {path}"

    def contains(self, secret: bytes) -> bool:
        """Anywhere in what was sent."""
        head = "\n".join(
            [
                self.method,
                self.path,
                self.query,
                unquote_plus(self.query),
                *(f"{name}: {value}" for name, value in self.headers),
            ]
        )
        return secret in head.encode() or secret in self.body


def holding(requests: Iterable[Recorded], secret: str) -> list[Recorded]:
    """The requests in which a secret was sent."""
    return [request for request in requests if request.contains(secret.encode())]
