"""Programs of other people, from npm: the MCP conformance suite, the Inspector and its `mcpdo`, the bundle checker.

They are installed once into a cache outside the repository: GITMACHINE_TEST_CACHE, else ~/.cache/gitmachine-tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import portalocker
import pytest

PACKAGES = (
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "@modelcontextprotocol/inspector@2.12.0",
    "@anthropic-ai/mcpb@2.1.2",
    "node@22",
)
_INSTALL_LIMIT_S = 600
_LIMIT_S = 90.0


@dataclass(frozen=True)
class Node:
    """The installed programs, each run in a home directory of the test's own."""

    directory: Path
    home: Path

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.directory / 'node_modules' / '.bin'}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
            "MCP_INSPECTOR_SECRET_STORE": "file",
        }

    async def begin(self, program: str, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            self.directory / "node_modules" / ".bin" / program, *words, env=self.environment(), cwd=self.home,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def __call__(self, program: str, *words: str, exits: int | None = 0) -> str:
        """What a program says on standard output."""
        process = await self.begin(program, *words)
        async with asyncio.timeout(_LIMIT_S):
            out, errors = await process.communicate()
        assert exits is None or process.returncode == exits, f"{process.returncode}\n{out.decode()}\n{errors.decode()}"
        return out.decode()


@pytest.fixture(scope="session")
def node_directory() -> Path:
    """Fails, and does not skip, when npm is missing or cannot install: what is not tested is not known to work."""
    if os.environ.get("USER") == "gitmachine-test":
        pytest.skip("only as root: other people's programs see the same wire whoever serves it")
    cache = os.environ.get("GITMACHINE_TEST_CACHE") or Path.home() / ".cache" / "gitmachine-tests"
    directory = Path(cache) / hashlib.sha256("\n".join(PACKAGES).encode()).hexdigest()[:12]
    directory.mkdir(parents=True, exist_ok=True)
    with portalocker.Lock(directory / "lock", timeout=_INSTALL_LIMIT_S):
        _install(directory)
    return directory


def _install(directory: Path) -> None:
    if not (directory / "complete").exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.fail("npm is not installed: the conformance suite and the Inspector come from there")
        command = [npm, "install", "--no-fund", "--no-audit", "--prefix", str(directory), *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_LIMIT_S)
        if done.returncode != 0:
            pytest.fail(f"npm install failed: {done.stderr[-2000:]}")
        (directory / "complete").touch()


@pytest.fixture
def node(node_directory: Path, tmp_path: Path) -> Node:
    return Node(node_directory, tmp_path)
