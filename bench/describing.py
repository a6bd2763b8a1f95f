"""The machine that figures were taken on, in words that anybody may read: no host name, no path, no user."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def this_machine() -> dict[str, str]:
    """Processor, cores, memory, kernel, file system, and the versions of what is measured against."""
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 1024**2:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(),
        "python": platform.python_version(),
        "git": _first_line("git", "--version").removeprefix("git version "),
        "bwrap": _first_line("bwrap", "--version").removeprefix("bubblewrap "),
        "user": "root, machines as another user" if os.geteuid() == 0 else "an ordinary user",
    }


def this_moment() -> dict[str, str]:
    """The commit of the code, and whether what was measured differs from it; when, and how busy the machine was.

    And whether the files are on the disk itself or in an image (bench/disk.py).
    """
    changed = _output("git", "status", "--porcelain", "--", "gitmachine", "mcp_server", "integrations", "bench/*.py")
    return {
        "commit": _output("git", "rev-parse", "--short=12", "HEAD") + (" and changes" if changed else ""),
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": f"{os.getloadavg()[0]:.1f}",
        "files": "in an image" if _mounted("SOURCE").startswith("/dev/loop") else "on the disk",
    }


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _file_system() -> str:
    return _mounted("FSTYPE")


def _mounted(column: str) -> str:
    target = os.environ.get("TMPDIR", "/tmp")
    return _output("findmnt", "--noheadings", "--first-only", "--output", column, "--target", target)


def _first_line(*argv: str) -> str:
    return _output(*argv).partition("\n")[0]


def _output(*argv: str) -> str:
    here = Path(__file__).parents[1]
    return subprocess.run(argv, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
