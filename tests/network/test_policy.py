"""Which entries a network list may have, and what each lets through."""

from __future__ import annotations

import ipaddress

import pytest

from gitmachine.errors import ConfigurationError
from gitmachine.network import addresses
from gitmachine.network.policy import AllowList, Target

ALLOWED = AllowList.parse(
    [
        "pypi.org",
        "*.example.org",
        "api.test:8443",
        "any.test:*",
        "127.0.0.1:9000",
        "[::1]:9000",
        "93.184.216.34",
        "bücher.de",
    ]
)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("pypi.org", 443), ("pypi.org", 80), ("PyPI.org.", 443), ("a.example.org", 443), ("a.b.example.org", 80),
        ("api.test", 8443), ("any.test", 1), ("127.0.0.1", 9000), ("::1", 9000), ("0:0:0:0:0:0:0:1", 9000),
        ("93.184.216.34", 443), ("xn--bcher-kva.de", 443),
    ],
)  # fmt: skip
def test_what_is_listed_is_let_through(host: str, port: int) -> None:
    assert ALLOWED.why_not(Target.of(host, port)) is None


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("pypi.org", 22, "port 22"),
        ("evil.pypi.org", 443, "not among"),
        ("pypi.org.evil.test", 443, "not among"),
        ("evilpypi.org", 443, "not among"),
        ("example.org", 443, "not among"),
        ("evilexample.org", 443, "not among"),
        ("api.test", 443, "port 443"),
        ("127.0.0.1", 9001, "not one that is allowed itself"),
        ("127.0.0.2", 9000, "not one that is allowed itself"),
        ("10.0.0.1", 443, "not one that is allowed itself"),
        ("::ffff:127.0.0.1", 9000, "not one that is allowed itself"),
        ("169.254.169.254", 80, "metadata"),
        ("::ffff:169.254.169.254", 80, "metadata"),
        ("64:ff9b::a9fe:a9fe", 80, "metadata"),
        ("2002:a9fe:a9fe::1", 80, "metadata"),
        ("fd00:ec2::254", 80, "metadata"),
        ("0.0.0.0", 9000, "no host's address"),
        ("::", 9000, "no host's address"),
        ("224.0.0.1", 80, "many hosts"),
        ("fe80::1", 80, "link-local"),
    ],
)
def test_what_is_not_listed_is_refused_with_its_reason(host: str, port: int, reason: str) -> None:
    assert reason in (ALLOWED.why_not(Target.of(host, port)) or "let through")


@pytest.mark.parametrize("host", ["10.0.0.1", "::1", "93.184.216.34"])
def test_a_list_of_every_name_lists_no_address(host: str) -> None:
    everything = AllowList.parse(["*"])
    assert everything.why_not(Target.of("anything.test", 443)) is None
    assert everything.why_not(Target.of(host, 443)) is not None


@pytest.mark.parametrize(
    "host",
    ["127.1", "0x7f.0.0.1", "2130706433", "017700000001", "0x7f000001", "1.2.3", "127.0.0.01", "a.1", "a b", "",
     "a..b", "-a.org", "a/b", "a@b", "fe80::1%lo", "[::1]", "bücher.de", "a\0.org", "a" * 64, "x." * 130 + "org"],
)  # fmt: skip
def test_what_two_resolvers_could_read_differently_is_no_target(host: str) -> None:
    with pytest.raises(ValueError, match="neither a host name nor an address"):
        Target.of(host, 443)


@pytest.mark.parametrize(
    ("entry", "instead"),
    [
        ("https://pypi.org/", "give a host"),
        ("pypi.org/simple", "give a host"),
        ("user@pypi.org", "give a host"),
        ("", "give a host"),
        ("pypi.org:0", "1 to 65535"),
        ("pypi.org:https", "1 to 65535"),
        ("pypi.*", "whole beginning"),
        ("*pypi.org", "whole beginning"),
        ("localhost:8000", "127.0.0.1:PORT"),
        ("a.localhost", "127.0.0.1:PORT"),
        ("127.0.0.1", "127.0.0.1:PORT"),
        ("127.0.0.1:*", "127.0.0.1:PORT"),
        ("10.0.0.1", "10.0.0.1:PORT"),
        ("::1", "::1:PORT"),
        ("[::1", "[2001:db8::7]:443"),
        ("127.1:80", "usual form"),
        ("169.254.169.254:80", "metadata"),
        ("[fd00:ec2::254]:80", "metadata"),
        ("169.254.1.1:80", "link-local"),
        ("0.0.0.0:80", "no host's"),
        ("168.63.129.16", "metadata"),
    ],
)
def test_an_entry_that_cannot_be_kept_says_what_to_write(entry: str, instead: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        AllowList.parse([entry])
    assert instead in str(refused.value)
    assert repr(entry) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("127.0.0.1", "loopback"), ("127.8.8.8", "loopback"), ("::1", "loopback"), ("::ffff:127.0.0.1", "loopback"),
        ("10.1.2.3", "private"), ("172.16.0.1", "private"), ("192.168.1.1", "private"), ("100.64.0.1", "private"),
        ("fc00::1", "private"), ("198.18.0.1", "private"), ("240.0.0.1", "private"), ("192.0.2.1", "private"),
        ("::10.0.0.1", "private"), ("64:ff9b::a00:1", "private"), ("2002:a00:1::", "private"),
        ("64:ff9b:1::1", "private"), ("169.254.10.10", "link-local"), ("fe80::1", "link-local"),
        ("169.254.169.254", "metadata"), ("168.63.129.16", "metadata"), ("0.0.0.0", "no host"), ("::", "no host"),
        ("255.255.255.255", "many hosts"), ("ff02::1", "many hosts"),
    ],
)  # fmt: skip
def test_no_name_leads_to_an_address_that_is_not_public(text: str, reason: str) -> None:
    assert reason in (addresses.why_not_public(ipaddress.ip_address(text)) or "let through")


@pytest.mark.parametrize("text", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_a_name_leads_to_any_public_address(text: str) -> None:
    assert addresses.why_not_public(ipaddress.ip_address(text)) is None
