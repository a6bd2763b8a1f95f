"""A stand-in for the git inside a machine: makes commits, and packs of them, honest or not."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from tests.support.git_server import Repository, git, git_bytes

_KINDS = {"commit": 1, "tree": 2, "blob": 3}


class Maker:
    """A clone with which a test does what an agent would do."""

    def __init__(self, path: Path, repository: Repository) -> None:
        self.path = path
        git("clone", "--quiet", "--no-local", str(repository.path), str(path), cwd=repository.path)

    def git(self, *args: str, stdin: bytes | None = None) -> str:
        return git(*args, cwd=self.path, stdin=stdin)

    def commit(self, files: Mapping[str, str | bytes], message: str = "The agent's work") -> str:
        """Commits the files on whatever is checked out."""
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--no-verify", "-m", message)
        return self.git("rev-parse", "HEAD")

    def pack(self, *tips: str, without: str = "origin/HEAD", whole: bool = False) -> bytes:
        """A thin pack of the tips for someone who has `without`, or the whole of them."""
        lines = [*tips] if whole else [*tips, f"^{without}"]
        wanted = "\n".join(lines).encode()
        return git_bytes("pack-objects", "--revs", "--thin", "--stdout", "-q", cwd=self.path, stdin=wanted)


def sha_of(kind: str, content: bytes) -> str:
    """The name of an object."""
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def pack_of(*objects: tuple[str, bytes]) -> bytes:
    """A pack of any bytes as any kind of object, which git itself would not make (gitformat-pack(5))."""
    body = b"PACK" + struct.pack(">II", 2, len(objects))
    for kind, content in objects:
        body += _entry_header(_KINDS[kind], len(content)) + zlib.compress(content)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _entry_header(kind: int, size: int) -> bytes:
    first = (kind << 4) | (size & 15)
    size >>= 4
    out = bytearray()
    while size:
        out.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    out.append(first)
    return bytes(out)


def tree_entry(mode: str, name: bytes, sha: str) -> bytes:
    """One entry of a tree object."""
    return f"{mode} ".encode() + name + b"\0" + bytes.fromhex(sha)


def commit_bytes(tree: str, *parents: str, author: str = "A <a@example.com> 1700000000 +0000") -> bytes:
    """A commit object's content."""
    lines = [f"tree {tree}", *(f"parent {p}" for p in parents), f"author {author}"]
    return "\n".join([*lines, "committer A <a@example.com> 1700000000 +0000", "", "message", ""]).encode()
