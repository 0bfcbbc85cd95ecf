"""A quota algorithm that somebody adds to the table and to nothing else: each place that lacks it says so."""

from typing import Any, cast

import msgspec
import pytest

from gateway.adapters.redis.readiness import RedisReadiness
from gateway.core.errors import StoreUnavailable
from gateway.core.policies.schema import PolicyDocument
from gateway.core.quotas.algorithms import ALGORITHMS, Algorithm, TokenBucket
from gateway.core.quotas.model import Quota
from tests import test_docs
from tests.adapters.bench import RECORDS, Bench, rule_with
from tests.support.quotas import make_quota

MADE_UP = "leaky-bucket"


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Quota:
    """A quota by an algorithm that the table has, and nothing else."""
    row = Algorithm(new=TokenBucket(0, 0), keeps="a number", admits="a drop", resets="until it drips")
    monkeypatch.setitem(cast(dict[str, Algorithm], ALGORITHMS), MADE_UP, row)
    return Quota("q", 5, 60, MADE_UP)


async def test_the_admission_script_refuses_it(bench: Bench, made_up: Quota) -> None:
    """It is no fixed window: the request is not admitted, nothing is charged, and the error names the algorithm."""
    await bench.tokens.create(RECORDS[0])
    before = await bench.keys()
    known = make_quota("fixed-window", 9, 60, name="known")
    for quotas in ([made_up], [known, made_up]):
        with pytest.raises(StoreUnavailable, match=f"unknown quota algorithm {MADE_UP}"):
            await bench.admit(rule_with(quotas), RECORDS[0])
    assert before == await bench.keys()
    assert (await bench.admit(rule_with([known]), RECORDS[0])).is_charged


async def test_the_settling_script_refuses_it(bench: Bench, made_up: Quota, caplog: pytest.LogCaptureFixture) -> None:
    """What was charged stays charged: nothing is given back as if it were another algorithm's."""
    await bench.tokens.create(RECORDS[0])
    rule = rule_with([make_quota("fixed-window", 9, 60)], cost=3)
    facts = await bench.admit(rule, RECORDS[0])
    (window,) = facts.windows
    unknown = msgspec.structs.replace(window, quota=made_up)
    await bench.refund(rule, msgspec.structs.replace(facts, windows=(unknown,)), 3)
    assert f"unknown quota algorithm {MADE_UP}" in caplog.text
    (window,) = (await bench.admit(rule, RECORDS[0])).windows
    assert 6 == window.used


async def test_readiness_names_it(bench: Bench, made_up: Quota) -> None:
    """A load balancer sends no requests, and the check says what to do; without it all algorithms are known."""
    failures = (await RedisReadiness(bench.connection).check()).failures
    message = f"the scripts of this version cannot count by {made_up.algorithm}: install the gateway again"
    assert {"quotas": message} == failures


async def test_all_others_are_known(bench: Bench) -> None:
    """The scripts count by every algorithm of the table."""
    assert {} == (await RedisReadiness(bench.connection).check()).failures


def test_the_documents_lack_it(made_up: Quota) -> None:
    """If it is neither in docs/guide/limits.md nor in the example policy, the test of the documents fails."""
    with pytest.raises(AssertionError, match=made_up.algorithm):
        test_docs.test_every_algorithm_is_documented()


def test_the_schema_of_policies_is_the_table() -> None:
    """A policy file may name the algorithms of the table, and no other."""
    properties: dict[str, Any] = msgspec.json.schema(PolicyDocument)["$defs"]["QuotaTable"]["properties"]
    assert sorted(ALGORITHMS) == sorted(one for one in properties["algorithm"]["anyOf"][0]["enum"])
