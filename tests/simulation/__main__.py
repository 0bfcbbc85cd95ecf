"""Run many seeds, or replay one.

python -m tests.simulation                  # a thousand seeds
python -m tests.simulation --seed 4711      # one, with all that happened
"""

import argparse
import sys
import time
from multiprocessing import get_context

from tests.simulation.run import Run, run_seed

AT_ONCE = 10
"""Seeds that a process takes at a time."""


def replay(seed: int) -> str:
    """Return the command that runs a seed again."""
    return f"python -m tests.simulation --seed {seed}"


def main() -> None:
    """Run what the command line asks for; the exit code is 1 if a seed fails."""
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int)
    asked = parser.parse_args()
    if asked.seed is not None:
        run = run_seed(asked.seed)
        print("\n".join([*run.trace, *run.violations]))
        sys.exit(1 if run.violations else 0)
    begun, failed, events = time.monotonic(), list[Run](), 0
    with get_context("spawn").Pool(asked.jobs) as pool:
        for run in pool.imap_unordered(run_seed, range(asked.first, asked.first + asked.seeds), AT_ONCE):
            events += run.events
            if run.violations:
                failed.append(run)
                print(f"seed {run.seed}: {run.violations[0]}\n  replay: {replay(run.seed)}", flush=True)
    seconds = time.monotonic() - begun
    print(f"{asked.seeds} seeds, {events} events, {len(failed)} failed, {seconds:.1f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
