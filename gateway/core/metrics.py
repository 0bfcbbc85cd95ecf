"""Metrics in Prometheus' text format, version 0.0.4: which there are, and how they are written.

Rule: a label's value is one of few. No token, address, path or owner is ever one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from gateway.core.usage import ALERTS, LOGS, RECOGNITION, REFUSED, StoreMemory, Totals, UsageLabels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Sample(msgspec.Struct, frozen=True):
    """One number of a metric, distinguished by its labels."""

    number: int
    labels: Mapping[str, str] = {}


class Metric(msgspec.Struct, frozen=True):
    """A metric. One without samples is written too, so that its name is known before it counts."""

    name: str
    kind: str
    """The type: counter or gauge."""
    help: str
    samples: Sequence[Sample]


def gather_metrics(
    totals: Totals | None, memory: StoreMemory | None, policy_mistakes: int, versions: Mapping[str, int]
) -> list[Metric]:
    """Return the gateway's metrics. Without totals, Redis did not answer, and its counters are left out."""
    metrics = [
        Metric("gateway_redis_up", "gauge", "Whether Redis answers.", [Sample(int(totals is not None))]),
        Metric(
            "gateway_policy_mistakes",
            "gauge",
            "Mistakes in the policy files; while there are any, an older set is served.",
            [Sample(policy_mistakes)],
        ),
    ]
    if totals is not None:
        metrics.append(
            Metric(
                "gateway_policy_versions",
                "gauge",
                "Versions of each policy that processes on this Redis serve; more than 1 while a change is rolled out.",
                [Sample(number, {"policy": policy}) for policy, number in sorted(versions.items())],
            )
        )
    if memory is not None:
        metrics += _build_memory(memory)
    if totals is not None:
        metrics += _build_totals(totals)
    return metrics


def _build_memory(memory: StoreMemory) -> Iterator[Metric]:
    yield Metric("gateway_redis_memory_bytes", "gauge", "Memory that Redis uses.", [Sample(memory.used)])
    yield Metric(
        "gateway_redis_memory_limit_bytes",
        "gauge",
        "Memory that Redis may use (maxmemory), 0 for any. Exports are stored up to three quarters of it.",
        [Sample(memory.maximum)],
    )


def _build_totals(totals: Totals) -> Iterator[Metric]:
    yield Metric(
        "gateway_requests_total",
        "counter",
        "Requests answered by all workers of all nodes, by policy, reason of the refusal (empty: passed), class of the"
        " status code, and part of the cache (empty: none).",
        [Sample(number, _labels(labels)) for labels, number in sorted(totals.requests.items())],
    )
    refused = {event: number for event, number in totals.events.items() if event.startswith(REFUSED)}
    dropped = {event: number for event, number in totals.events.items() if event in LOGS}
    recognition = {event: number for event, number in totals.events.items() if event.startswith(RECOGNITION)}
    alerts = {event: number for event, number in totals.events.items() if event.startswith(ALERTS)}
    named = refused | dropped | recognition | alerts
    others = {event: number for event, number in totals.events.items() if event not in named}
    yield Metric(
        "gateway_cache_events_total",
        "counter",
        "What happened in the caches of all workers of all nodes, such as store-refused: Redis took no export.",
        [Sample(number, {"event": event}) for event, number in sorted(others.items())],
    )
    yield Metric(
        "gateway_redis_refusals_total",
        "counter",
        "Commands of all workers of all nodes that Redis refused, by its error code, such as NOPERM, READONLY or OOM.",
        [Sample(number, {"code": event.removeprefix(REFUSED)}) for event, number in sorted(refused.items())],
    )
    yield Metric(
        "gateway_recognition_total",
        "counter",
        "Requests of all workers of all nodes whose bytes were seen before: recognised, learnt, or left to the long way"
        " and why.",
        [Sample(number, _recognition_labels(event)) for event, number in sorted(recognition.items())],
    )
    yield Metric(
        "gateway_log_lines_dropped_total",
        "counter",
        "Lines of all workers of all nodes that a log did not take: its reader does not keep up, or its disk is full.",
        [Sample(number, {"log": LOGS[event]}) for event, number in sorted(dropped.items())],
    )
    yield Metric(
        "gateway_alerts_total",
        "counter",
        "Alerts of all workers of all nodes to the operators' webhook: sent, failed (never taken), or dropped.",
        [Sample(number, {"result": event.removeprefix(ALERTS)}) for event, number in sorted(alerts.items())],
    )


def _recognition_labels(event: str) -> dict[str, str]:
    result, _, reason = event.removeprefix(RECOGNITION).partition(":")
    return {"result": result, "reason": reason}


def _labels(labels: UsageLabels) -> dict[str, str]:
    return {name: str(getattr(labels, name)) for name in UsageLabels.__struct_fields__}


def write_metrics(metrics: Iterable[Metric]) -> str:
    """Return the text that Prometheus reads."""
    return "".join(f"{line}\n" for metric in metrics for line in _write_metric(metric))


def _write_metric(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for sample in metric.samples:
        labels = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in sample.labels.items())
        yield f"{metric.name}{{{labels}}} {sample.number}" if labels else f"{metric.name} {sample.number}"
