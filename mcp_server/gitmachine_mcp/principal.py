"""On whose behalf a request is made. A handle is a name, not a permission: what counts is the principal."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

LOCAL = "local"
"""Whoever started the server on stdio: the user himself."""

current: ContextVar[str] = ContextVar("gitmachine_mcp_principal", default=LOCAL)


def of(request: Any) -> str:
    """The principal of an HTTP request, as its token says; `local` where there is no HTTP request."""
    if request is None:
        return LOCAL
    user = request.scope.get("user")
    name = getattr(user, "username", "") if getattr(user, "is_authenticated", False) else ""
    return f"http:{name}"
