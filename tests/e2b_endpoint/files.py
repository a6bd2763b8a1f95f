"""envd's HTTP for files (e2b-dev/infra `packages/envd/internal/api/{upload,download,auth}.go`)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import mimetypes
import os
import posixpath
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from email.utils import formatdate
from urllib.parse import quote

from connectrpc.errors import ConnectError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.e2b_endpoint.box import GuestGone, GuestRefused
from tests.e2b_endpoint.envd import DEFAULT_USER, HOMES, Guest, resolve

CHUNK_BYTES = 64 * 1024
_STATUS = {"not_found": 404, "invalid_argument": 400, "no_space": 507, "unauthenticated": 401}


class FilesError(Exception):
    """What envd answers: a status and a text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def failed(error: FilesError) -> JSONResponse:
    """envd's jsonError."""
    return JSONResponse({"code": error.status, "message": str(error)}, error.status)


def signature(path: str, operation: str, user: str, token: str, expiration: int | None) -> str:
    """As the SDK makes it for signed URLs (e2b/sandbox/signature.py)."""
    raw = ":".join([path, operation, user, token, *([str(expiration)] if expiration is not None else [])])
    return "v1_" + base64.b64encode(hashlib.sha256(raw.encode()).digest()).decode().rstrip("=")


def check_access(request: Request, operation: str, token: str) -> None:
    """auth.go: the token in its header, or a signature in the query. Raises FilesError."""
    header = request.headers.get("x-access-token")
    query = request.query_params
    if header is not None:
        if not hmac.compare_digest(header, token):
            raise FilesError(401, "access token present in header but does not match")
        return
    if "signature" not in query:
        raise FilesError(401, "missing signature query parameter")
    expiration = int(query["signature_expiration"]) if "signature_expiration" in query else None
    expected = signature(query.get("path", ""), operation, query.get("username", ""), token, expiration)
    if not hmac.compare_digest(expected, query["signature"]):
        raise FilesError(401, "invalid signature")
    if expiration is not None and expiration < time.time():
        raise FilesError(401, "signature is already expired")


def _user(request: Request) -> str:
    name = request.query_params.get("username") or DEFAULT_USER
    if name not in HOMES:
        raise FilesError(401, f"error looking up user '{name}': user: unknown user {name}")
    return name


def _resolved(path: str, user: str) -> str:
    try:
        return resolve(path, user)
    except ConnectError as error:
        raise FilesError(400, f"error resolving path: {error.message}") from error


async def _open(guest: Guest, op: str, path: str) -> tuple[dict[str, int], int]:
    try:
        return await guest.box.open(op, path=path)
    except GuestRefused as error:
        raise FilesError(_STATUS.get(error.code, 500), str(error)) from error
    except GuestGone as error:
        raise FilesError(502, str(error)) from error


# --- down ------------------------------------------------------------------------------------------------------


async def download(guest: Guest, request: Request) -> Response:
    """GET /files. Raises FilesError."""
    path = _resolved(request.query_params.get("path", ""), _user(request))
    found, fd = await _open(guest, "read", path)
    headers = {
        "Vary": "Accept-Encoding",
        # As Go's mime.FormatMediaType writes a name that a header cannot hold as it is.
        "Content-Disposition": f"inline; filename*=utf-8''{quote(posixpath.basename(path))}",
    }
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if _wants_gzip(request):
        headers["Content-Encoding"] = "gzip"
        return _Download(fd, _gzipped(_chunks(fd, None)), 200, headers, kind)
    headers["Last-Modified"] = formatdate(found["modified_ns"] / 1e9, usegmt=True)
    headers["Accept-Ranges"] = "bytes"
    size = found["size"]
    begin, length, status = _range(request.headers.get("range"), size)
    if status == 206:
        headers["Content-Range"] = f"bytes {begin}-{begin + length - 1}/{size}"
    headers["Content-Length"] = str(length)
    os.lseek(fd, begin, os.SEEK_SET)
    return _Download(fd, _chunks(fd, length), status, headers, kind)


class _Download(StreamingResponse):
    """Closes the file, however it ends."""

    def __init__(self, fd: int, content: AsyncIterator[bytes], status: int, headers: dict[str, str], kind: str) -> None:
        super().__init__(content, status, headers, kind)
        self._fd = fd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._fd)


def _wants_gzip(request: Request) -> bool:
    """encoding.go, without the weights: envd compresses whenever a client lets it."""
    if "range" in request.headers:
        return False
    offered = [part.partition(";")[0].strip() for part in request.headers.get("accept-encoding", "").split(",")]
    return "gzip" in offered


def _range(header: str | None, size: int) -> tuple[int, int, int]:
    """First byte, count and status of a request for one range; anything else is a request for all."""
    first, dash, last = (header or "").removeprefix("bytes=").partition("-")
    if not header or not dash or "," in header or not (first + last).isdigit():
        return 0, size, 200
    begin = int(first) if first else max(0, size - int(last))
    end = min(size - 1, int(last)) if first and last else size - 1
    return (begin, end - begin + 1, 206) if begin <= end else (0, size, 200)


async def _chunks(fd: int, length: int | None) -> AsyncIterator[bytes]:
    """What is left of a file, at most `length` bytes."""
    left = length
    while (left is None or left > 0) and (data := os.read(fd, CHUNK_BYTES if left is None else min(left, CHUNK_BYTES))):
        left = None if left is None else left - len(data)
        yield data


async def _gzipped(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(wbits=31)
    async for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


# --- up --------------------------------------------------------------------------------------------------------


async def upload(guest: Guest, request: Request) -> Response:
    """POST /files: one file as it is, or several in a form. Raises FilesError."""
    user = _user(request)
    body = _unpacked(await request.body(), request.headers.get("content-encoding", "identity"))
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    given = request.query_params.get("path")
    if kind == b"application/octet-stream":
        if given is None:
            raise FilesError(400, "path query parameter is required for raw body upload")
        parts = [(given, body)]
    elif kind.startswith(b"multipart/"):
        parts = [(given if given is not None else name, data) for name, data in _parts(body, options[b"boundary"])]
    else:
        raise FilesError(400, f"unsupported content type: {request.headers.get('content-type', '')}, "
                         "expected multipart/form-data or application/octet-stream")  # fmt: skip
    metadata = {
        name.removeprefix("x-metadata-"): value
        for name, value in request.headers.items()
        if name.startswith("x-metadata-") and name != "x-metadata-"
    }
    written: list[dict[str, object]] = []
    for path, data in parts:
        resolved = _resolved(path, user)
        if any(entry["path"] == resolved for entry in written):
            raise FilesError(400, f"you cannot upload multiple files to the same path '{resolved}' in one upload "
                             "request, only the first specified file was uploaded")  # fmt: skip
        written.append(await _write(guest, resolved, data, metadata))
    return Response(json.dumps(written))  # without a content type, as envd


async def _write(guest: Guest, path: str, data: bytes, metadata: dict[str, str]) -> dict[str, object]:
    _, fd = await _open(guest, "write", path)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view[:CHUNK_BYTES]) :]
        kept = _keep_metadata(fd, metadata)
    except OSError as error:
        raise FilesError(500, f"error writing file: {(error.strerror or '').lower()}") from error
    finally:
        os.close(fd)
    entry: dict[str, object] = {"path": path, "name": posixpath.basename(path), "type": "file"}
    return {**entry, "metadata": kept} if kept else entry


def _keep_metadata(fd: int, metadata: dict[str, str]) -> dict[str, str]:
    """In extended attributes; a file system without them keeps none, and the answer does not claim it does."""
    kept = {}
    with suppress(OSError):
        for name, value in metadata.items():
            os.setxattr(fd, f"user.e2b.{name}", value.encode())
            kept[name] = value
    return kept


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise FilesError(400, f"error decompressing request body: unsupported Content-Encoding: {encoding}")
    try:
        return zlib.decompress(body, wbits=31)
    except zlib.error as error:
        raise FilesError(400, f"error decompressing request body: {error}") from error


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """File name and content of each part called `file`; a name may be a whole path, in UTF-8."""
    found: list[tuple[dict[bytes, bytes], bytearray]] = []
    name, value = bytearray(), bytearray()

    def header_end() -> None:
        found[-1][0][bytes(name).lower()] = bytes(value)
        name.clear()
        value.clear()

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": lambda: found.append(({}, bytearray())),
            "on_header_field": lambda data, start, end: name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: value.extend(data[start:end]),
            "on_header_end": header_end,
            "on_part_data": lambda data, start, end: found[-1][1].extend(data[start:end]),
        },
    )
    parser.write(body)
    parser.finalize()
    for headers, data in found:
        options = parse_options_header(headers[b"content-disposition"])[1]
        if options.get(b"name") == b"file":
            yield options.get(b"filename", b"").decode(), bytes(data)
