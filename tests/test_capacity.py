"""The arithmetic of the capacity page, and that its costs are those that were measured."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.capacity import FLEETS, Costs, Fleet, plan, redis_cost, rows
from tests.support.documents import page

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_the_page_has_the_table_of_the_script() -> None:
    assert "\n".join(rows()) in page("operations/capacity.md")


def test_the_costs_are_those_that_were_measured() -> None:
    """Each stands in the file that its docstring names, at its row."""
    results = (BENCHMARKS / "results" / "0.1.0.md").read_text(encoding="utf-8")
    measured = (BENCHMARKS / "MEASURED.md").read_text(encoding="utf-8")
    costs = Costs()
    (cached,) = re.findall(r"^\| cached 2 KiB \| gateway \| ([0-9.]+) ", results, re.MULTILINE)
    off = re.findall(r"^\|  \| gateway, recognition off \| ([0-9.]+) ", results, re.MULTILINE)[0]
    assert (costs.recognised_microseconds, costs.worker_microseconds) == (float(cached), float(off))
    many = re.findall(r"^\| 100,000 in use among 1,000,000.*?\| [0-9.]+ \(.*?\) \| ([0-9.]+) ", measured, re.MULTILINE)
    lone = re.findall(r"^\| naive stack: proxied \|.*\| 1\.0 \(.*?\) \| ([0-9.]+) ", measured, re.MULTILINE)
    assert ([str(costs.redis_microseconds)], [str(costs.lone_microseconds)]) == (many, lone)
    assert f"| all in | 378 | {costs.token_bytes} |" in measured
    assert f"{costs.usage_bytes:,} bytes if it is used in two" in page("operations/scaling.md")


def test_a_fleet_by_hand() -> None:
    """A million requests a second: 153 workers have 6,536 requests each, six tenths of what one can do."""
    need = plan(FLEETS[-1], Costs())
    assert 153 == need.workers
    assert 24.0 == pytest.approx(redis_cost(0.61 * 1e6 / 91.3, Costs()), abs=0.1)
    assert 41 == need.redis_cores
    assert 614.0 == pytest.approx(need.data_gigabytes)


@pytest.mark.parametrize("field", ["tokens", "requests_per_second"])
def test_more_never_needs_less(field: str) -> None:
    """Of workers, data and servers."""
    needs = []
    for factor in (1, 10, 100, 1000, 10_000):
        fleet = Fleet(**{"tokens": 100_000, "requests_per_second": 100, field: 100 * factor})
        needs.append(plan(fleet, Costs()))
    for before, after in pairwise(needs):
        assert before.workers <= after.workers
        assert before.data_gigabytes <= after.data_gigabytes
        assert before.shards <= after.shards
