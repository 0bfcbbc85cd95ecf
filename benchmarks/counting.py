"""What counting costs a request: `Exchange.finish` with and without it, in turns.

The answer is a 304 from the cache, the commonest one of many that are counted, without an access log.
`python -m benchmarks.counting` measures it.
"""

import asyncio
import statistics
import time
from typing import Any

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import EMBEDDED, RedisConnection, open_client
from gateway.adapters.redis.quota_refunds import RedisQuotaRefunds
from gateway.adapters.redis.usage import RedisUsageCounter
from gateway.app import request_ids
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized
from gateway.core.http.messages import Field, RequestHead, Response, ResponseHead
from gateway.core.policies.model import PolicySet
from gateway.pipeline.exchange import Exchange
from tests.support.policies import make_record, rule_for, small_policies

REQUESTS = 2_000
ROUNDS = 401
FIELDS: list[Field] = [
    (b"content-type", b"application/json"),
    (b"etag", b'W/"4UYnVpoWgSLLJ8tTMvJk6A"'),
    (b"cache-control", b"private, no-cache"),
    (b"vary", b"accept-encoding"),
    (b"date", b"Sat, 21 Nov 2026 12:00:00 GMT"),
    (b"age", b"7"),
    (b"cache-status", b"gateway; hit; ttl=53"),
]


class Policies:
    """The policies of an exchange that is asked for nothing but its end."""

    current: PolicySet = small_policies()


async def measure() -> None:
    connection = RedisConnection(open_client(EMBEDDED, 5), 5)
    refunds = RedisQuotaRefunds(connection, RedisAdmissions(connection), request_ids().__next__)
    counting = RedisUsageCounter(connection, {}, time.time)

    def build(counting: RedisUsageCounter | None) -> Exchange:
        left_out: Any = None  # what comes before the end
        return Exchange(
            policies=Policies(),
            admissions=left_out,
            export_cache=left_out,
            refunds=refunds,
            streams=left_out,
            authenticator=left_out,
            access_log=None,
            clock=time.time,
            usage_counter=counting,
        )

    rule = rule_for("GET /export")
    outcomes = [
        Authorized(rule, AdmissionFacts(AdmissionRequest(rule), 0, record, False, False, (), ()))
        for record in (make_record(f"sml_{number}") for number in range(100))
    ]
    head = RequestHead(
        method="GET",
        path="/export",
        query="",
        fields=[],
        scheme="http",
        client="",
        forwarded_for="",
        id="id",
        host="small.example",
        authority="small.example",
        received_at=0.0,
    )

    def run(exchange: Exchange) -> float:
        began = time.process_time_ns()
        for number in range(REQUESTS):
            exchange.finish(head, outcomes[number % 100], Response(ResponseHead(304, FIELDS.copy()), b""))
        return (time.process_time_ns() - began) / REQUESTS / 1000

    without, counted = build(None), build(counting)
    rounds = [(run(without), run(counted)) for _ in range(ROUNDS)]
    own = [after - before for before, after in rounds]
    low, middle, high = statistics.quantiles(own, n=4)
    print(f"finish: {statistics.median(before for before, _ in rounds):.2f} us without counting")
    print(f"counting: {middle:.2f} us a request (quartiles {low:.2f} and {high:.2f}, {ROUNDS} pairs)")
    await counting.close()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(measure())
