"""Metrics as Prometheus reads them: its own parser is the judge."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.metrics import Metric, Sample, gather_metrics, write_metrics
from gateway.core.usage import StoreMemory, Totals, UsageLabels

TOTALS = Totals(
    {UsageLabels("tokencraft", "", "2xx", "hit"): 12, UsageLabels("tokencraft", "quota_exceeded", "4xx", ""): 3},
    {
        "store-refused": 1,
        "redis-refused:OOM": 2,
        "access-records-dropped": 5,
        "alerts:sent": 3,
        "recognition:recognised": 7,
        "recognition:left:changed": 1,
    },
)


def read(metrics: list[Metric]) -> dict[str, list[tuple[dict[str, str], float]]]:
    families = text_string_to_metric_families(write_metrics(metrics))
    return {one.name: [(sample.labels, sample.value) for sample in one.samples] for one in families}


def test_prometheus_reads_what_is_written() -> None:
    """Every number with its labels; and nothing that is not one of few."""
    assert {
        "gateway_redis_up": [({}, 1)],
        "gateway_policy_mistakes": [({}, 2)],
        "gateway_policy_versions": [({"policy": "shop"}, 1), ({"policy": "tokencraft"}, 2)],
        "gateway_redis_memory_bytes": [({}, 1000)],
        "gateway_redis_memory_limit_bytes": [({}, 4000)],
        "gateway_requests": [
            ({"policy": "tokencraft", "reason": "", "status": "2xx", "cache": "hit"}, 12),
            ({"policy": "tokencraft", "reason": "quota_exceeded", "status": "4xx", "cache": ""}, 3),
        ],
        "gateway_cache_events": [({"event": "store-refused"}, 1)],
        "gateway_redis_refusals": [({"code": "OOM"}, 2)],
        "gateway_recognition": [
            ({"result": "left", "reason": "changed"}, 1),
            ({"result": "recognised", "reason": ""}, 7),
        ],
        "gateway_log_lines_dropped": [({"log": "access"}, 5)],
        "gateway_alerts": [({"result": "sent"}, 3)],
    } == read(gather_metrics(TOTALS, StoreMemory(1000, 4000), 2, {"tokencraft": 2, "shop": 1}))


def test_without_redis_the_counters_are_left_out() -> None:
    """Not zero, which would be a number; that Redis is away is one."""
    told = read(gather_metrics(None, None, 0, {}))
    assert {"gateway_redis_up": [({}, 0)], "gateway_policy_mistakes": [({}, 0)]} == told


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "ä{}, =", "\\n"])
def test_any_text_may_be_a_label(text: str) -> None:
    """What has a meaning of its own in the format is escaped."""
    assert {"one": [({"label": text}, 1)]} == read([Metric("one", "gauge", "One.", [Sample(1, {"label": text})])])
