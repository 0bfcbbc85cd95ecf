"""`/metrics`, as the admin listener will serve it."""

import time
from collections import Counter
from types import SimpleNamespace

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from gateway.adapters.policy_versions import RedisVersions
from gateway.adapters.redis.connection import EMBEDDED, RedisConnection, open_client
from gateway.adapters.redis.usage import RedisUsage, RedisUsageCounter
from gateway.admin.metrics import build_metrics
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized
from gateway.core.http.messages import ResponseHead
from gateway.core.tokens.text import token_id
from gateway.core.usage import build_usage_key
from tests.support.policies import make_record, rule_for, small_policies
from tests.support.processes import free_port

ADDRESS = "192.0.2.77"


def ask(url: str, *, requests: int) -> tuple[int, str, str]:
    """Status, media type and content of `/metrics`, after so many requests of a token."""
    connection = RedisConnection(open_client(url, 5), 5)
    counting = RedisUsageCounter(connection, Counter({"store-refused": 2}), time.time)

    async def count() -> None:
        record, rule = make_record(), rule_for("GET /export")
        facts = AdmissionFacts(AdmissionRequest(rule, address=ADDRESS), 0, record, False, True, (), ())
        for _ in range(requests):
            counting.count_request(build_usage_key(Authorized(rule, facts), ResponseHead(200, [(b"age", b"1")])))
        await counting.flush()

    versions = RedisVersions(connection, "here", SimpleNamespace(current=small_policies()))
    page = build_metrics(RedisUsage(connection, time.time), lambda: ("one mistake",), versions)
    app = Litestar([page], on_startup=[count], on_shutdown=[counting.close, connection.close], openapi_config=None)
    with TestClient(app) as client:
        answer = client.get("/metrics")
        return answer.status_code, answer.headers["content-type"], answer.text


@pytest.mark.redis
def test_metrics_are_served_as_prometheus_reads_them(redis_url: str) -> None:
    """In its format and media type, with what was counted; without the token's id, its name or the client's address."""
    status, kind, text = ask(redis_url, requests=3)
    assert 200 == status
    assert "text/plain; version=0.0.4; charset=utf-8" == kind
    families = {one.name: one for one in text_string_to_metric_families(text)}
    (requests,) = families["gateway_requests"].samples
    assert {"policy": "small", "reason": "", "status": "2xx", "cache": ""} == requests.labels
    assert 3 == requests.value
    assert [2] == [sample.value for sample in families["gateway_cache_events"].samples]
    assert [1, 1] == [families[name].samples[0].value for name in ("gateway_redis_up", "gateway_policy_mistakes")]
    assert [({"policy": "small"}, 1)] == [
        (sample.labels, sample.value) for sample in families["gateway_policy_versions"].samples
    ]
    assert families["gateway_redis_memory_bytes"].samples[0].value > 100_000
    record = make_record()
    assert not [secret for secret in (token_id(record.digest), record.digest, record.name, ADDRESS) if secret in text]


def test_the_embedded_store_has_metrics_too() -> None:
    """All of them but how full it is."""
    status, _, text = ask(EMBEDDED, requests=3)
    assert 200 == status
    assert "gateway_redis_up 1\n" in text
    assert "gateway_redis_memory" not in text
    assert 'gateway_requests_total{policy="small",reason="",status="2xx",cache=""} 3\n' in text


def test_metrics_are_served_while_redis_is_away() -> None:
    """That it is away is what they say then, and nothing of what they do not know."""
    status, _, text = ask(f"redis://127.0.0.1:{free_port()}/0", requests=3)
    assert 200 == status
    assert "gateway_redis_up 0\n" in text
    assert "gateway_requests_total" not in text
