"""Make random Programs, run each in three ways, and print what they cover.

``python -m hwroute.sim.random_programs --count 200 --seed 1``
"""

import argparse
import sys
from functools import partial

from hwroute.sim.random_programs.case import check
from hwroute.sim.random_programs.coverage import KEYS, coverage, table
from hwroute.sim.random_programs.generate import random_case
from hwroute.sim.random_programs.overlapped import overlapped

LEAST = 20
"""How often each thing must happen in 200 Programs."""


def main() -> int:
    """Return 1 where something is not covered often enough."""
    parser = argparse.ArgumentParser(prog="python -m hwroute.sim.random_programs")
    parser.add_argument("--count", type=int, default=200, help="Programs")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first; others follow")
    options = parser.parse_args()
    cases = [random_case(options.seed + index) for index in range(options.count)]
    for case in cases:
        for pace in range(2):
            check(case, partial(overlapped, seed=pace))
    counts = coverage(cases)
    seldom = [" ".join(key) for key in KEYS if counts[key] < LEAST]
    below = ", ".join(seldom) if seldom else "nothing"
    sys.stdout.write(f"{table(counts)}\nbelow {LEAST}: {below}\n")
    return 1 if seldom and options.count >= 200 else 0


if __name__ == "__main__":
    raise SystemExit(main())
