"""`python -m tests.crash --instants 200`: kills a session at that many instants and says what was lost."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from statistics import median

from tests.crash.faults import faults
from tests.crash.series import Pace, series
from tests.crash.trial import Trial


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--instants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--fault", choices=[fault.name for fault in faults()], help="only this one")
    parser.add_argument("--lanes", type=int, default=2, help="so many sessions at a time")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one crash and its recovery")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    trials, corruption = series(
        options.instants, seed, tell, only=options.fault, pace=Pace(options.lanes, options.limit)
    )
    print(summary(trials, corruption))
    return 1 if corruption or any(trial.problems for trial in trials) else 0


def tell(trial: Trial) -> None:
    at = f"{trial.instant.number:>2} + {trial.instant.delay_s * 1000:3.0f} ms"
    print(f"{trial.fault:<11} at {at}  finished {trial.finished:>2}  recovered in {trial.recovery_s:.2f} s", flush=True)
    for problem in trial.problems:
        print(f"    PROBLEM {problem}", flush=True)


def summary(trials: list[Trial], corruption: list[str]) -> str:
    seconds = sorted(trial.recovery_s for trial in trials)
    kinds = ", ".join(f"{name} {count}" for name, count in Counter(trial.fault for trial in trials).items())
    lines = [
        f"instants tried      {len(trials)} ({kinds})",
        f"commands lost       {sum(trial.lost for trial in trials)}",
        f"seconds to recover  median {median(seconds):.2f}, longest {seconds[-1]:.2f}",
        f"vaults              {'clean for git fsck' if not corruption else '; '.join(corruption)}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
