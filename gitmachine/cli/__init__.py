"""The command `gitmachine`. Needs the extra `cli`; without it the command says so."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("click", "rich")
_MISSING_EXTRA = 78


def main() -> None:
    """The console script."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"gitmachine: the command line needs {' and '.join(missing)}, which the extra `cli` brings: "
            'install "gitmachine-sdk[cli]"\n'
        )
        sys.exit(_MISSING_EXTRA)
    from gitmachine.cli.app import cli

    cli(prog_name="gitmachine")
