"""A pack made in memory (gitformat-pack(5)): for the few small objects that a commit adds."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

_KINDS = {"commit": 1, "tree": 2, "blob": 3}
_LEVEL = 1


def packed(objects: Sequence[tuple[str, bytes]]) -> bytes:
    """The pack of these objects, each given as (kind, content), none of them as a difference to another."""
    body = b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big")
    body += b"".join(_head(_KINDS[kind], len(content)) + zlib.compress(content, _LEVEL) for kind, content in objects)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _head(kind: int, size: int) -> bytes:
    """Three bits of kind and four of the size, then seven bits a byte as long as there are more."""
    first = (kind << 4) | (size & 15)
    size >>= 4
    out = bytearray()
    while size:
        out.append(first | 128)
        first = size & 127
        size >>= 7
    out.append(first)
    return bytes(out)
