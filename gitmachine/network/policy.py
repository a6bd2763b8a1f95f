"""The list of hosts that a machine may reach, read and asked. No I/O.

An entry is a name (`pypi.org`), all names below one (`*.example.org`), every name (`*`), or an address (`192.0.2.7`,
`[2001:db8::7]`), each with `:PORT` or `:*` for any; without, ports 80 and 443. A name never leads to a private
network or to the host itself: an address there is listed by hand, with its port. Metadata services and link-local
addresses cannot be listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gitmachine.errors import ConfigurationError
from gitmachine.network import addresses
from gitmachine.network.addresses import Address

WEB_PORTS = frozenset({80, 443})
MAX_ENTRIES = 1000
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a program in a machine wants to connect to."""

    host: str
    """In lower case, without a dot at its end."""
    port: int
    address: Address | None = None
    """When the host is spelled as an address."""

    @classmethod
    def of(cls, host: str, port: int) -> Target:
        """Raises ValueError for what is neither a name nor an address in its usual form."""
        text = host.lower().removesuffix(".")
        address = addresses.read(text) if "%" not in text else None
        if address is None and not is_name(text):
            raise ValueError(f"{host[:100]!r} is neither a host name nor an address in its usual form")
        return cls(text if address is None else str(address), port, address)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_name(text: str) -> bool:
    """Whether a text in lower case is a host name (RFC 1123, underscores too).

    What ends in a number is none (WHATWG URL, 3.5): resolvers take `127.1` or `0x7f000001` for addresses.
    """
    labels = text.split(".")
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not _NUMBER.fullmatch(labels[-1])


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of the list."""

    entry: str
    """As it was written."""
    host: str
    ports: frozenset[int] | None
    """None for all."""
    address: Address | None = None

    def covers(self, target: Target) -> bool:
        if self.ports is not None and target.port not in self.ports:
            return False
        if target.address is not None:
            return target.address == self.address
        if self.host == "*":
            return True
        return target.host.endswith(self.host[1:]) if self.host.startswith("*.") else target.host == self.host


def parse_rule(entry: str) -> Rule:
    """Raises ConfigurationError, saying what to write instead."""
    text = entry.strip().lower()
    if not text or "/" in text or "@" in text or any(character.isspace() for character in text):
        raise ConfigurationError(
            f"{entry!r} is no entry of a network list: give a host, such as 'pypi.org', '*.example.org' or 'host:8443'"
        )
    host, port = _split(entry, text)
    ports = WEB_PORTS if port is None else _ports(entry, port)
    address = addresses.read(host) if "%" not in host else None
    if address is None:
        return Rule(entry, _checked_name(entry, host), ports)
    if (reason := addresses.why_never(address)) is not None:
        raise ConfigurationError(f"{entry!r} cannot be allowed: it {reason}")
    if not address.is_global and (port is None or ports is None):
        raise ConfigurationError(f"{entry!r} is not in the public network: name the one port, '{address}:PORT'")
    return Rule(entry, str(address), ports, address)


def _split(entry: str, text: str) -> tuple[str, str | None]:
    """The host, and the port as it is written."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ConfigurationError(f"{entry!r}: an IPv6 address with a port is written '[2001:db8::7]:443'")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _ports(entry: str, port: str) -> frozenset[int] | None:
    if port == "*":
        return None
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ConfigurationError(f"{entry!r}: {port!r} is no port: give 1 to 65535, or * for all")
    return frozenset({int(port)})


def _checked_name(entry: str, host: str) -> str:
    below = host.removeprefix("*.")
    name = below.removesuffix(".")
    if host == "*":
        return host
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            raise ConfigurationError(f"{entry!r}: {below!r} cannot be a host name") from None
    if name == "localhost" or name.endswith(".localhost"):
        raise ConfigurationError(f"{entry!r}: no name leads to the host itself; list the address, '127.0.0.1:PORT'")
    if not is_name(name):
        raise ConfigurationError(
            f"{entry!r} is no entry of a network list: {below!r} is neither a host name nor an address in its usual "
            "form, and * stands for a name's whole beginning only"
        )
    return f"*.{name}" if host.startswith("*.") else name


@dataclass(frozen=True, slots=True)
class AllowList:
    """All that a machine may reach. Empty: nothing, though a refusal still says so."""

    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AllowList:
        """Raises ConfigurationError for the first entry that is none."""
        rules = tuple(parse_rule(entry) for entry in dict.fromkeys(entries))
        if len(rules) > MAX_ENTRIES:
            raise ConfigurationError(f"a network list has at most {MAX_ENTRIES} entries, not {len(rules)}")
        return cls(rules)

    @property
    def entries(self) -> tuple[str, ...]:
        return tuple(rule.entry for rule in self.rules)

    def why_not(self, target: Target) -> str | None:
        """Why a machine may not connect there; None when it may, if a name leads to an address that it may lead to."""
        if target.address is not None and (reason := addresses.why_never(target.address)) is not None:
            return reason
        if any(rule.covers(target) for rule in self.rules):
            return None
        if target.address is not None:
            return "is an address, and not one that is allowed itself"
        if any(rule.covers(Target(target.host, port)) for rule in self.rules for port in rule.ports or ()):
            return f"is allowed, but not its port {target.port}"
        return "is not among the allowed hosts"

    def why_not_at(self, target: Target, address: Address) -> str | None:
        """Why an allowed target may not be reached at this address, to which its name leads."""
        return addresses.why_never(address) if target.address is not None else addresses.why_not_public(address)
