"""A provider made of the ten abstract members alone, as somebody would write his first one: the cookbook's.

No wall at all: the commands run as we do, in a directory of their own.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "cookbook"))  # whose programs see one another like that

from custom_provider import DirectoryMachine


class PlainMachine(DirectoryMachine):
    """Under a name by which any process of the tests finds it."""
