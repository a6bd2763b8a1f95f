"""Repositories to measure on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IDENTITY = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com")


@dataclass(frozen=True, slots=True)
class Repositories:
    """Bare repositories below a directory, made when they are first asked for."""

    directory: Path

    def of(self, files: int, commits: int = 1) -> Path:
        """So many files, and so many commits on main."""
        path = self.directory / f"{files}-{commits}.git"
        return path if path.exists() else synthetic(path, files, commits=commits)


def synthetic(path: Path, files: int, per_directory: int = 100, commits: int = 1) -> Path:
    """A bare repository with so many small files of different content on main.

    The first commit has all of them; each further one changes one of them.
    """
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    with subprocess.Popen(
        ["git", "--git-dir", str(path), "fast-import", "--quiet"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as importer:
        assert importer.stdin is not None
        importer.stdin.writelines(_stream(files, per_directory, commits))
        _, stderr = importer.communicate()
    assert importer.returncode == 0, stderr.decode()
    return path


def _stream(files: int, per_directory: int, commits: int) -> Iterator[bytes]:
    yield b"commit refs/heads/main\ncommitter B <b@example.com> 1700000000 +0000\ndata 5\nfirst\n"
    for number in range(files):
        yield _file(number, per_directory, 0)
    for turn in range(1, commits):
        yield b"commit refs/heads/main\ncommitter B <b@example.com> %d +0000\ndata 4\nmore\n" % (1700000000 + turn)
        yield _file(turn * 7919 % files, per_directory, turn)


def _file(number: int, per_directory: int, turn: int) -> bytes:
    text = "".join(f"line {line} of file {number}\n" for line in range(20 + number % 30)).encode()
    text += b"changed in commit %d\n" % turn if turn else b""
    return b"M 100644 inline d%d/f%d.txt\ndata %d\n%s\n" % (number // per_directory, number, len(text), text)
