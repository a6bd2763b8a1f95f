"""The variables that send programs to a proxy: pip, npm, git, curl, Go, Cargo and Node read one or another."""

from __future__ import annotations

from collections.abc import Iterable

from gitmachine.network.policy import AllowList

_OWN_NAMES = ("localhost", "127.0.0.1", "::1")


def proxy_environment(allowed: Iterable[str], port: int) -> dict[str, str]:
    """For every command of a machine whose proxy listens on that port of its loopback.

    The machine's own servers are reached past the proxy; but an address of the host's loopback that is allowed is
    not, and then programs in the machine reach their own servers by the name localhost.
    """
    listed = {str(rule.address) for rule in AllowList.parse(allowed).rules if rule.address is not None}
    address = f"http://127.0.0.1:{port}"
    direct = ",".join(name for name in _OWN_NAMES if name not in listed)
    given = {"http_proxy": address, "https_proxy": address, "all_proxy": address, "no_proxy": direct}
    return given | {name.upper(): value for name, value in given.items()} | {"NODE_USE_ENV_PROXY": "1"}
