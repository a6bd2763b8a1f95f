"""The proxy: HTTP CONNECT and plain HTTP for one machine, to allowed hosts only.

It resolves an allowed name once, checks the addresses, and connects to one of those that it checked. It holds no
credential and changes nothing in what it passes on but the head of a plain request.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from gitmachine.network import addresses, requests, tls
from gitmachine.network.addresses import Address
from gitmachine.network.policy import WEB_PORTS, AllowList, Target
from gitmachine.network.requests import BadRequest, Request, refusal

MAX_CONNECTIONS = 512
HEAD_LIMIT_S = 30.0
RESOLVE_LIMIT_S = 20.0
CONNECT_LIMIT_S = 20.0
LINGER_S = 2.0
_CHUNK_BYTES = 64 * 1024
_TOO_MANY = refusal("503", f"the machine has {MAX_CONNECTIONS} connections already")
_TUNNEL_IS_UP = b"HTTP/1.1 200 Connection established\r\n\r\n"

Refused = Callable[[str, int, str], None]
"""Told of each connection that was refused: host, port, reason."""
_Check = Callable[[bytes], bytes | None]


class Proxy:
    """Serves connections of one machine."""

    def __init__(self, allowed: AllowList, refused: Refused) -> None:
        self._allowed = allowed
        self._refused = refused
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Accepts until `stop` is set, then closes what is open."""
        server = await asyncio.start_server(self.take, sock=listener, limit=requests.MAX_HEAD_BYTES)
        try:
            await stop.wait()
        finally:
            server.close()
            await self.close()

    async def close(self) -> None:
        """Ends the connections that are open."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of the machine to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            answer = await self._handle(reader, writer) if len(self._tasks) <= MAX_CONNECTIONS else _TOO_MANY
            if answer is not None:
                await _answer(reader, writer, answer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side hung up
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """Serves one request; gives what is to be answered when the origin server is not to."""
        try:
            async with asyncio.timeout(HEAD_LIMIT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            request = requests.parse(head)
        except (TimeoutError, asyncio.LimitOverrunError):
            return refusal("400", "no whole request came")
        except BadRequest as error:
            return refusal("400", str(error))
        target = request.target
        usable = await self._usable(target)
        if isinstance(usable, bytes):
            return usable
        try:
            upstream = await _open(usable, target.port)
        except (OSError, TimeoutError) as error:
            return refusal("502", f"{target} is allowed, but does not answer: {_said(error)}")
        try:
            await self._relay(request, (reader, writer), upstream)
        finally:
            upstream[1].close()
        return None

    async def _usable(self, target: Target) -> list[Address] | bytes:
        """The addresses that a target may be reached at, or the answer that says why there are none."""
        if (reason := self._allowed.why_not(target)) is not None:
            self._refused(target.host, target.port, reason)
            listable = target.address is None or addresses.why_never(target.address) is None
            entry = target.host if target.address is None and target.port in WEB_PORTS else target
            hint = f"; to allow it add '{entry}' to the machine's network list" if listable else ""
            return refusal("403", f"{target} is refused: it {reason}{hint}")
        try:
            found = [target.address] if target.address is not None else await _resolve(target)
        except (OSError, TimeoutError) as error:
            return refusal("502", f"{target} is allowed, but its name cannot be resolved: {_said(error)}")
        reasons = {address: self._allowed.why_not_at(target, address) for address in found}
        usable = [address for address, reason in reasons.items() if reason is None]
        if usable or not reasons:
            return usable
        address, reason = next(iter(reasons.items()))
        self._refused(target.host, target.port, f"leads to {address}, which {reason}")
        return refusal("403", f"{target} is refused: it leads to {address}, which {reason}")

    async def _relay(
        self,
        request: Request,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        check: _Check | None = None
        if request.is_tunnel:
            client[1].write(_TUNNEL_IS_UP)
            check = self._name_check(request.target)
        else:
            upstream[1].write(request.forwarded)
        out = asyncio.ensure_future(_copy(client[0], upstream[1], check))
        back = asyncio.ensure_future(_copy(upstream[0], client[1], None))
        try:
            # What the server says ends a plain exchange; a tunnel's two directions end each by themselves.
            await asyncio.gather(out, back) if request.is_tunnel else await back
        finally:
            await _end(out, back)

    def _name_check(self, target: Target) -> _Check:
        """For a tunnel's first bytes: gives them on, asks for more, or raises when they name another server."""

        def check(data: bytes) -> bytes | None:
            try:
                name = tls.server_name(data)
            except tls.Incomplete:
                return None if len(data) < tls.MAX_HELLO_BYTES else data
            if name is None:
                return data
            try:
                named = Target.of(name, target.port)
            except ValueError:
                named = None
            if named is not None and (named == target or self._allowed.why_not(named) is None):
                return data
            shown = "".join(c for c in name[:100] if c.isprintable())
            self._refused(shown, target.port, f"is named in the TLS connection that was asked for as {target}")
            raise ConnectionAbortedError("another server's name")

        return check


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, check: _Check | None) -> None:
    """Everything, up to the end of one side; what `check` holds back waits for more."""
    held = b""
    while data := await reader.read(_CHUNK_BYTES):
        if check is not None:
            held += data
            if (passed := check(held)) is None:
                continue
            data, check = passed, None
        writer.write(data)
        await writer.drain()
    if check is not None and held:
        writer.write(held)  # it ended before it said who is meant, so no server was named
    with suppress(OSError):
        writer.write_eof()


async def _end(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _resolve(target: Target) -> list[Address]:
    async with asyncio.timeout(RESOLVE_LIMIT_S):
        found = await asyncio.get_running_loop().getaddrinfo(
            target.host.encode("ascii"), target.port, type=socket.SOCK_STREAM
        )
    read = (addresses.read(str(info[4][0])) for info in found)
    return list(dict.fromkeys(address for address in read if address is not None))


async def _open(usable: list[Address], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first that answers. By number, so that nothing is looked up again."""
    failure: Exception = OSError("it has no address")
    for address in usable:
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                return await asyncio.open_connection(str(address), port, limit=_CHUNK_BYTES)
        except (OSError, TimeoutError) as error:
            failure = error
    raise failure


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(answer)
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(LINGER_S):
            await writer.drain()
            writer.write_eof()
            # Closed with a body still unread, the connection would be reset, and the answer with it (RFC 9112, 9.6).
            while await reader.read(_CHUNK_BYTES):
                pass


def _said(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else (getattr(error, "strerror", None) or str(error))
