"""Names of sessions and refs, checked before anything starts.

The rules are those of git-check-ref-format(1) for `refs/heads/<name>`, and a few of our own. They make a name
possible, not harmless: `a;id` and `$(id)` are valid branch names to git. Names travel as arguments only.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime

from gitmachine.errors import ConfigurationError, InvalidSessionName

MAX_NAME_BYTES = 200
SESSION_REFS = "refs/gitmachine/sessions/"

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")


def ref_fault(name: str) -> str | None:
    """The rule of git-check-ref-format(1) that `refs/heads/<name>` breaks; None when it breaks none."""
    if not name:
        return "it is empty"
    if found := _FORBIDDEN.search(name):
        return f"it contains {found.group()!r}"
    for text in ("..", "@{", "//"):
        if text in name:
            return f"it contains {text!r}"
    if name.startswith("/") or name.endswith("/"):
        return "it starts or ends with '/'"
    if name.endswith("."):
        return "it ends with '.'"
    for part in name.split("/"):
        if part.startswith("."):
            return f"the component {part!r} starts with '.'"
        if part.endswith(".lock"):
            return f"the component {part!r} ends with '.lock'"
    return None


def _own_fault(name: str) -> str | None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode text"
    if size > MAX_NAME_BYTES:
        return f"it is {size} bytes long, the limit is {MAX_NAME_BYTES}"
    if name.startswith("-"):
        return "it starts with '-'"
    # git refuses a branch HEAD since 2.16, and `refs/heads/…` as a branch only confuses.
    if name == "HEAD" or name.startswith("refs/"):
        return "git itself uses that name"
    if name == "@":
        return "it is '@', git's short name of HEAD"
    return None


def check_session_name(name: str) -> str:
    """The name itself, when it can be a branch.

    Raises: InvalidSessionName, which says the rule that the name breaks.
    """
    if fault := ref_fault(name) or _own_fault(name):
        raise InvalidSessionName(
            f"{name[:MAX_NAME_BYTES]!r} cannot be a session's name: {fault}; a session is a git branch, "
            "choose a name like 'fix/login'"
        )
    return name


def new_session_name(now: datetime) -> str:
    """A fresh name: `gitmachine/<YYYY-MM-DD>-<6 hex digits>`."""
    return f"gitmachine/{now:%Y-%m-%d}-{secrets.token_hex(3)}"


def session_ref(session_id: str, name: str) -> str:
    """The vault's ref `name` (tip, files, base, head, stash, heads/<branch>) of a session.

    Raises: ConfigurationError when that cannot be a ref.
    """
    return check_session_ref(f"{SESSION_REFS}{session_id}/{name}")


def check_session_ref(ref: str) -> str:
    """The ref itself, when it is one that a session may own: refs/gitmachine/sessions/<id>/<name>.

    Raises: ConfigurationError.
    """
    fault = ref_fault(ref)
    if not ref.startswith(SESSION_REFS) or "/" not in ref.removeprefix(SESSION_REFS):
        fault = f"it is not below {SESSION_REFS}<session>/"
    if fault:
        raise ConfigurationError(f"{ref!r} cannot be a session's ref: {fault}")
    return ref
