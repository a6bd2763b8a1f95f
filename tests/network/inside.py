"""A host of our own making, with a metadata service, a private neighbour and a name server, and a proxy on it.

Run by test_evasion.py in a network and mount namespace of its own, so that no packet leaves them. Prints as JSON what
each request came to, who was connected to, and what names were asked for.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path

from gitmachine.network.policy import AllowList
from gitmachine.network.proxy import Proxy

PUBLIC, OURS, PRIVATE, METADATA = "93.184.216.34", "93.184.216.1", "10.9.9.9", "169.254.169.254"
ANSWERS = {
    "public.test": cycle([[PUBLIC]]),
    "metadata.test": cycle([[METADATA]]),
    "loopback.test": cycle([["127.0.0.1"]]),
    "private.test": cycle([[PRIVATE]]),
    "ours.test": cycle([[OURS]]),
    "mixed.test": cycle([[METADATA, PRIVATE, PUBLIC]]),
    "rebind.test": cycle([[PUBLIC], [METADATA]]),
    "six.test": cycle([["::1"]]),
    "mapped.test": cycle([["::ffff:169.254.169.254"]]),
}
REQUESTS = [
    *(f"http://{name}/" for name in ANSWERS if name != "rebind.test"),
    *["http://rebind.test/"] * 6,
    f"http://{METADATA}/", f"http://{PRIVATE}/", "http://127.0.0.1/", f"http://{OURS}/", "http://[::1]/",
    f"http://[::ffff:{METADATA}]/", "http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/",
    "http://other.invalid/", "http://public.test:8080/", f"http://{PUBLIC}/",
]  # fmt: skip
SERVE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "http://metadata.test/latest")
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *arguments): pass
sys.stdin.readline()
server = http.server.ThreadingHTTPServer(("93.184.216.34", 80), Handler)
print("ready", flush=True)
server.serve_forever()
"""


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def make_host(directory: Path, other: int) -> None:
    """Addresses, a line to the public host, and a name server's address; the host's own files are not touched."""
    run("ip", "link", "set", "lo", "up")
    for address in (PRIVATE, METADATA):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    run("ip", "link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(other))
    run("ip", "address", "add", f"{OURS}/24", "dev", "here")
    run("ip", "link", "set", "here", "up")
    there = ["nsenter", f"--target={other}", "--net", "ip"]
    run(*there, "address", "add", f"{PUBLIC}/24", "dev", "there")
    run(*there, "link", "set", "there", "up")
    files = {"resolv.conf": "nameserver 127.0.0.1\n", "nsswitch.conf": "hosts: dns\n", "hosts": ""}
    for name, content in files.items():
        (directory / name).write_text(content)
        if Path("/etc", name).exists():
            run("mount", "--bind", str(directory / name), f"/etc/{name}")


class NameServer(threading.Thread):
    """Answers A and AAAA from the table, and nothing for other names (RFC 1035, 4.1)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))

    def run(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, kind = ".".join(labels), int.from_bytes(query[at + 1 : at + 3], "big")
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        records: list[bytes] = []
        if kind == 1:
            self.asked.append(name)
        if name in ANSWERS and (kind == 28) == (name in ("six.test", "mapped.test")) and family:
            for address in next(ANSWERS[name]):
                data = socket.inet_pton(family, address)
                records.append(struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(data)) + data)
        code = 0 if name in ANSWERS else 3
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        return head + query[12 : at + 5] + b"".join(records)


class Forbidden(BaseHTTPRequestHandler):
    """Whoever gets here has got around the policy."""

    hits: list[str] = []  # noqa: RUF012 - counted over all

    def do_GET(self) -> None:
        self.hits.append(str(self.connection.getsockname()[0]))
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"secret")

    def log_message(self, *_: object) -> None:
        pass


def forbidden_servers() -> None:
    for address in (METADATA, PRIVATE, OURS, "127.0.0.1"):
        threading.Thread(target=ThreadingHTTPServer((address, 80), Forbidden).serve_forever, daemon=True).start()


async def curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{http_connect}", "-x", "http://127.0.0.1:3128",
        "--noproxy", "", "--max-time", "20", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return (await process.communicate())[0].decode()


async def main() -> None:
    server = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        while Path(f"/proc/{server.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            await asyncio.sleep(0.005)
        make_host(Path(sys.argv[1]), server.pid)
        server.stdin.write("go\n")
        server.stdin.flush()
        assert server.stdout.readline() == "ready\n"
        names = NameServer()
        names.start()
        forbidden_servers()
        refused: list[tuple[str, int, str]] = []
        proxy = Proxy(AllowList.parse(["*.test"]), lambda host, port, reason: refused.append((host, port, reason)))
        stop = asyncio.Event()
        serving = asyncio.ensure_future(proxy.serve(socket.create_server(("127.0.0.1", 3128)), stop))
        plain = [[url, await curl(url)] for url in REQUESTS]
        tunnels = [[url, await curl("--proxytunnel", url)] for url in REQUESTS]
        redirected = await curl("-L", "http://public.test/")
        stop.set()
        await serving
        told = {"plain": plain, "tunnels": tunnels, "redirected": redirected}
        print(json.dumps(told | {"hits": Forbidden.hits, "asked": names.asked, "refused": refused}))
    finally:
        server.kill()
        server.communicate()


asyncio.run(main())
