"""Repositories to measure on."""

from __future__ import annotations

import subprocess
from pathlib import Path

IDENTITY = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com")


def synthetic(path: Path, files: int, per_directory: int = 100) -> Path:
    """A bare repository with so many small files of different content, in one commit on main."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    stream = [b"commit refs/heads/main\ncommitter B <b@example.com> 1700000000 +0000\ndata 5\nfirst\n"]
    for number in range(files):
        text = "".join(f"line {line} of file {number}\n" for line in range(20 + number % 30)).encode()
        stream.append(
            b"M 100644 inline d%d/f%d.txt\ndata %d\n%s\n" % (number // per_directory, number, len(text), text)
        )
    subprocess.run(
        ["git", "--git-dir", str(path), "fast-import", "--quiet"],
        input=b"".join(stream),
        check=True,
        capture_output=True,
    )
    return path
