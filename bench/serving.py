"""python -m bench.serving DIRECTORY: a git server over HTTP until standard input ends; prints its base URL."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.git_server import GitServer

if __name__ == "__main__":
    with GitServer(Path(sys.argv[1]), token=None) as server:
        print(server.base_url, flush=True)
        sys.stdin.read()
