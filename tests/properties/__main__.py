"""`python -m tests.properties --examples 200 --machine local`: random steps against a plain model of their files."""

from __future__ import annotations

import argparse
import random
import time

from tests.properties.model import MACHINES
from tests.properties.run import check


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.properties", description=__doc__)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--machine", choices=list(MACHINES), default="local")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    steps = check(options.machine, options.examples, seed)
    took = time.monotonic() - began
    print(f"{options.examples} examples, {steps} steps on {options.machine} in {took:.0f} s: all equal")


if __name__ == "__main__":
    main()
