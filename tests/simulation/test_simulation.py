"""The gateway under faults and virtual time: no seed shows a violation, and every planted fault is found."""

import subprocess
import sys

import pytest

from tests.simulation.__main__ import replay
from tests.simulation.bugs import BUGS, Plant
from tests.simulation.run import run_seed

pytestmark = pytest.mark.system  # a gateway, its clients and its Redis: once a run is enough
SEEDS = range(1, 31)
"""Of each run of the tests; `make simulate` runs a thousand."""
MOST = 100
"""Seeds within which a planted fault is found."""


@pytest.mark.parametrize("tens", range(len(SEEDS) // 10))
def test_no_seed_shows_a_violation(tens: int) -> None:
    """Nothing is wrongly allowed or refused, no limit exceeded, no acknowledged change lost, whatever fails."""
    for seed in SEEDS[10 * tens : 10 * tens + 10]:
        run = run_seed(seed)
        assert [] == run.violations, f"replay: {replay(seed)}"
        assert run.events > 30


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation that finds nothing has to be one that could."""
    plant(monkeypatch)
    for seed in range(1, MOST + 1):
        found = [one for one in run_seed(seed).violations if BUGS[plant] in one]
        if found:
            print(f"seed {seed}: {found[0]}")
            return
    pytest.fail(f"{plant.__name__} was not found within {MOST} seeds")


def test_a_seed_replays_exactly() -> None:
    """Another process, whose hashes differ, sees the very same events at the very same times."""
    first, second = (
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "7"],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": hashes},
        ).stdout
        for hashes in ("1", "2")
    )
    assert first == second
    assert first.count(b"\n") > 30
