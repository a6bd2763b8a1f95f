"""Which addresses a name may lead to, and which nothing may (IANA's special-purpose registries, RFC 6890)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, GCP, Azure, Oracle, DigitalOcean, OpenStack
        "169.254.170.2",  # AWS ECS tasks
        "169.254.170.23",  # AWS EKS pods
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",
        "fd20:ce::254",  # GCP over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server, which is in a public range
        "192.0.0.192",  # Oracle
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_NOT_PUBLIC: tuple[_Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10", "198.18.0.0/15", "240.0.0.0/4",
        "64:ff9b:1::/48", "100::/64", "2001::/23", "3fff::/20", "5f00::/16", "fec0::/10",
    )
)  # fmt: skip
"""What `is_global` has thought of differently from one Python to the next."""


def read(text: str) -> Address | None:
    """The address that a text spells in its usual form; None for a name. `127.1` and `0x7f.0.0.1` are neither."""
    with suppress(ValueError):
        return ipaddress.ip_address(text)
    return None


def meant(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses that it carries and that a packet to it may come out at."""
    yield address
    if not isinstance(address, ipaddress.IPv6Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def why_never(address: Address) -> str | None:
    """Why nothing in a machine may ever reach this address, whoever allows it; None when it may be allowed."""
    for one in meant(address):
        if one in _METADATA:
            return "is the address of a cloud's metadata service"
        if one.is_link_local:
            return "is a link-local address"
        if one.is_unspecified:
            return "is no host's address"
        if one.is_multicast or one == ipaddress.IPv4Address("255.255.255.255"):
            return "is an address of many hosts"
    return None


def why_not_public(address: Address) -> str | None:
    """Why a name may not lead to this address; None for a host of the public network that is not this one."""
    if (reason := why_never(address)) is not None:
        return reason
    for one in meant(address):
        if one.is_loopback:
            return "is the host's own loopback"
        mapped = isinstance(one, ipaddress.IPv6Address) and len(list(meant(one))) > 1
        if mapped and one not in _COMPATIBLE:  # judged by the address that it carries, which comes next
            continue
        if one.is_private or not one.is_global or any(one in network for network in _NOT_PUBLIC):
            return "is an address of a private network"
    return "is an address of this host" if _is_ours(address) else None


def _is_ours(address: Address) -> bool:
    """Whether an interface of this host has the address: then it is its own source. Sends nothing (udp(7), connect)."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(address), 9))
        return _same(str(probe.getsockname()[0]), address)
    return False


def _same(text: str, address: Address) -> bool:
    found = read(text)
    return found is not None and int(found) == int(address)
