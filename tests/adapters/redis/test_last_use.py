"""The last use of a token: what notes it, how often, and where in the record it stands."""

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.adapters.redis import keys
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.quotas.model import Quota
from gateway.core.tokens.records import LAST_USE_WIDTH
from gateway.core.tokens.text import token_id
from tests.adapters.bench import START, Bench
from tests.support.policies import make_family, make_record, rule_for


async def test_the_last_use_is_written_once_in_its_resolution(bench: Bench) -> None:
    """Uses within a minute of the one noted are not written; the first after it is."""
    record = make_record(plan="open")
    identity = token_id(record.digest)
    await bench.tokens.create(record)
    seen = []
    for seconds in (0, 59, 60, 61):
        bench.admissions.now = START + seconds * 1000
        await bench.admit(rule_for("GET /export"), record)
        seen.append(await bench.tokens.find(identity))
    start = START // 1000
    assert [replace(record, last_use=one) for one in (start, start, start + 60, start + 60)] == seen


@pytest.mark.parametrize(
    ("request_line", "project", "changes", "used"),
    [
        ("POST /any", "", {"scopes": "read"}, 0),
        ("GET /projects/other/content", "other", {}, 0),
        ("GET /export", "", {"plan": "gone"}, 0),
        ("GET /export", "", {}, 5),
    ],
)
async def test_a_use_is_noted_whatever_becomes_of_the_request(
    bench: Bench, request_line: str, project: str, changes: dict[str, Any], used: int
) -> None:
    """Without the scope, for another project, by a plan that is gone, over its quota: the token was used."""
    record = make_record(**changes)
    await bench.tokens.create(record)
    counters = keys.quotas("token", "small", record.lineage)
    await bench.connection.client.hset(counters, Quota("minute", 5, 60).counter, f"{START + 1}:{used}")
    facts = await bench.admissions.admit(AdmissionRequest(rule_for(request_line), record.digest, project=project))
    noted = replace(record, last_use=START // 1000)
    assert not facts.is_charged
    assert noted == await bench.tokens.find(token_id(record.digest))


@pytest.mark.parametrize("seconds", [1, 10**LAST_USE_WIDTH - 1, 10**LAST_USE_WIDTH, 10**12])
async def test_no_clock_writes_beyond_a_last_uses_place(bench: Bench, seconds: int) -> None:
    """In 1970 as after 2286, when it stands still: all else in the record is as it was, and the token goes on."""
    record = make_record(plan="open", description="behind the last use")
    await bench.tokens.create(record)
    bench.admissions.now = seconds * 1000
    facts = [await bench.admit(rule_for("GET /export"), record) for _ in range(2)]
    assert [True, True] == [one.is_charged for one in facts]
    noted = replace(record, last_use=min(seconds, 10**LAST_USE_WIDTH - 1))
    assert noted == await bench.tokens.find(token_id(record.digest))


async def test_a_parent_is_not_used_by_its_children(bench: Bench) -> None:
    """An admission of a child reads its parent and notes nothing of it."""
    parent, child = make_family([{"child_of": None}, {"child_of": 0}])
    for record in (parent, child):
        await bench.tokens.create(record)
    await bench.admit(rule_for("GET /export"), child)
    found = [await bench.tokens.find(token_id(record.digest)) for record in (parent, child)]
    assert [0, START // 1000] == [one.last_use for one in found if one]


async def test_a_record_is_decoded_once_between_two_uses_that_are_noted(bench: Bench) -> None:
    """The admissions within a resolution find the very same record: what is remembered of it serves them."""
    record = make_record(plan="open")
    await bench.tokens.create(record)
    found = [(await bench.admit(rule_for("GET /export"), record)).record for _ in range(3)]
    assert [0, START // 1000, START // 1000] == [one.last_use for one in found if one]
    assert found[1] is found[2]
