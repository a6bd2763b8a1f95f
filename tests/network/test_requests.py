"""What a proxy takes for a request, and what it passes on."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest

from gitmachine.network import requests, tls
from gitmachine.network.policy import Target
from gitmachine.network.requests import BadRequest


def test_a_tunnel_names_its_target() -> None:
    request = requests.parse(b"CONNECT PyPI.org:443 HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
    assert request.is_tunnel
    assert request.target == Target("pypi.org", 443)


def test_a_plain_request_goes_on_in_the_origins_form_with_the_targets_host() -> None:
    request = requests.parse(
        b"GET http://pypi.org/simple/?a=b#c HTTP/1.1\r\nHost: PYPI.org\r\nProxy-Connection: keep-alive\r\n"
        b"Proxy-Authorization: Basic eA==\r\nConnection: X-Hop\r\nX-Hop: 1\r\nAccept: */*\r\n\r\n"
    )
    assert request.forwarded == (
        b"GET /simple/?a=b HTTP/1.1\r\nHost: pypi.org\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )


def test_a_port_stays_in_the_host_field() -> None:
    request = requests.parse(b"GET http://[::1]:8080 HTTP/1.1\r\n\r\n")
    assert request.forwarded.startswith(b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: pypi.org\r\n\r\n",
        b"GET https://pypi.org/ HTTP/1.1\r\n\r\n",
        b"GET http://pypi.org@evil.test/ HTTP/1.1\r\n\r\n",
        b"GET http://evil.test:80@pypi.org/ HTTP/1.1\r\n\r\n",
        b"GET http://pypi.org\\@evil.test/ HTTP/1.1\r\n\r\n",
        b"GET http:///x HTTP/1.1\r\n\r\n",
        b"GET http://pypi.org:99999/ HTTP/1.1\r\n\r\n",
        b"GET http://pypi.org/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        b"GET http://pypi.org/ HTTP/1.1\r\nHost: pypi.org:8080\r\n\r\n",
        b"GET http://pypi.org/ HTTP/1.1\r\nHost: pypi.org\r\nHost: evil.test\r\n\r\n",
        b"GET http://pypi.org/ HTTP/1.1\r\nHost : pypi.org\r\n\r\n",
        b"GET http://pypi.org/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"GET http://pypi.org/ HTTP/1.1\r\nA: b\nHost: evil.test\r\n\r\n",
        b"GET http://pypi.org/ HTTP/1.1\r\nConnection: host\r\n\r\n",
        b"POST http://pypi.org/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"POST http://pypi.org/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET http://pypi.org/ HTTP/2.0\r\n\r\n",
        b"GET http://pypi.org/ x HTTP/1.1\r\n\r\n",
        b"GET  http://pypi.org/ HTTP/1.1\r\n\r\n",
        b"CONNECT pypi.org HTTP/1.1\r\n\r\n",
        b"CONNECT pypi.org:443@evil.test:443 HTTP/1.1\r\n\r\n",
        b"CONNECT pypi.org:443/evil HTTP/1.1\r\n\r\n",
        b"CONNECT pypi.org\t:443 HTTP/1.1\r\n\r\n",
        b"CONNECT 127.1:443 HTTP/1.1\r\n\r\n",
        b"CONNECT pypi.org%00.evil.test:443 HTTP/1.1\r\n\r\n",
        b"CONNECT [::1%25lo]:443 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(BadRequest):
        requests.parse(head)


def test_a_refusal_says_why_in_its_status_line_and_stays_one_line() -> None:
    answer = requests.refusal("403", "evil.test\r\nX: y is refüsed")
    status, _, rest = answer.partition(b"\r\n")
    assert status == b"HTTP/1.1 403 GitMachine: evil.test X: y is ref sed"
    assert b"\r\nX: y" not in rest.partition(b"\r\n\r\n")[0]


def client_hello(name: str | None) -> bytes:
    """What the TLS library itself sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def test_the_server_name_of_a_tls_connection_is_read() -> None:
    hello = client_hello("pypi.org")
    assert tls.server_name(hello) == "pypi.org"
    for length in range(1, len(hello)):
        with pytest.raises(tls.Incomplete):
            tls.server_name(hello[:length])


def test_a_hello_in_many_records_is_put_together() -> None:
    hello = client_hello("pypi.org")
    body = hello[5:]
    split = b"".join(b"\x16\x03\x01\x00\x05" + body[i : i + 5] for i in range(0, len(body) // 5 * 5, 5))
    rest = body[len(body) // 5 * 5 :]
    assert tls.server_name(split + b"\x16\x03\x01" + len(rest).to_bytes(2, "big") + rest) == "pypi.org"


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\n", b"\x16\x02\x01\x00\x01x", client_hello(None)]
)
def test_what_is_no_tls_or_names_nobody_has_no_server_name(data: bytes) -> None:
    assert tls.server_name(data) is None
