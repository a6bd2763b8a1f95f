"""The agent as byte code: Python takes as long to compile it as to do all else until the agent runs."""

from __future__ import annotations

import hashlib
import subprocess
from contextlib import suppress
from pathlib import Path

from gitmachine.machines.local.probe import BWRAP_ENVIRONMENT, PYTHON
from gitmachine.records import write_whole

_COMPILE_LIMIT_S = 20.0
_DIGEST_BYTES = 32
# A header of 16 bytes, whose flags and date nobody looks at when the file is run by its name (PEP 552).
_COMPILE = """
import importlib.util, marshal, sys
code = compile(sys.stdin.buffer.read(), "agent.py", "exec")
sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
"""


def compiled(source: bytes, kept: Path) -> bytes:
    """What the sandbox's Python runs fastest for `source`, a standalone program: its byte code, else itself.

    `kept` is the file where it stays for the next sandbox. It is made again when the program or the host's Python is
    another one, and when it is damaged.
    """
    key = _key(source)
    with suppress(OSError):
        known = kept.read_bytes()
        code = known[2 * _DIGEST_BYTES :]
        if known.startswith(key + hashlib.sha256(code).digest()):
            return code
    made = _compile(source)
    if made is None:
        return source
    with suppress(OSError):  # the next one compiles it again
        write_whole(kept, key + hashlib.sha256(made).digest() + made, durable=False)
    return made


def _key(source: bytes) -> bytes:
    status = Path(PYTHON).stat()
    which = f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"
    return hashlib.sha256(which.encode() + source).digest()


def _compile(source: bytes) -> bytes | None:
    argv = [PYTHON, "-I", "-S", "-c", _COMPILE]
    try:
        done = subprocess.run(
            argv, input=source, capture_output=True, check=True, env=BWRAP_ENVIRONMENT, timeout=_COMPILE_LIMIT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
