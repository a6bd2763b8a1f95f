"""What an E2BMachine was told, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gitmachine.errors import ConfigurationError
from gitmachine.settings import e2b_api_key

KEYS_PAGE = "https://e2b.dev/dashboard?tab=keys"

MARK = "gitmachine"
"""The key in a sandbox's metadata that says it is ours; its value is the host's name for itself."""
START = "gitmachine_start"
"""The key whose value no other sandbox has."""


@dataclass(frozen=True, slots=True)
class Options:
    """The constructor's arguments."""

    api_key: str | None = None
    template: str = "base"
    timeout: int = 300
    """Seconds that the sandbox lives on when nobody extends its lease."""
    envs: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    max_lifetime: int = 86_400
    """Seconds from the sandbox's start beyond which no lease is asked for."""
    creation: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the SDK's `create`."""
    connection: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that the SDK takes in every call: domain, proxy, request_timeout and so on."""

    @classmethod
    def checked(cls, creation: Mapping[str, Any], connection: Mapping[str, Any], **values: Any) -> Options:
        """Options without what was left out. Raises ConfigurationError."""
        options = cls(
            creation={name: value for name, value in creation.items() if value is not None},
            connection={name: value for name, value in connection.items() if value is not None},
            **values,
        )
        if options.timeout < 1:
            raise ConfigurationError(f"timeout={options.timeout}: a sandbox lives for at least a second")
        return options

    def api_params(self) -> dict[str, Any]:
        """What every call to the service is given. Raises ConfigurationError when there is no key."""
        key = self.api_key or e2b_api_key()
        if not key:
            raise ConfigurationError(
                f"E2BMachine needs an API key: get one at {KEYS_PAGE}, then set E2B_API_KEY or give api_key=…"
            )
        return {**self.connection, "api_key": key}
