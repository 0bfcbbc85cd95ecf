"""What the benchmarks stand on: requests as clients send them, proportions of one round, and a soak that can fail."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.client import make_requests
from benchmarks.clients import AUTHORIZED, CLIENTS, TOKEN, TURN, build_head
from benchmarks.load import Load, Order
from benchmarks.report import build_report
from benchmarks.runs import Measured, Results, Sample
from benchmarks.soaking import Load as Soak
from benchmarks.soaking import Owner, Token
from benchmarks.usage import RedisUsage


@pytest.mark.parametrize("client", CLIENTS)
def test_a_head_has_the_fields_of_its_client(client: str) -> None:
    """The caller's fields stand together, where the client puts them; the head is whole."""
    head = build_head("/export", (*AUTHORIZED, ("If-None-Match", '"a"')), client)
    assert head.startswith(
        "GET /export HTTP/1.1\r\nHost: " if client != "Node's fetch" else "GET /export HTTP/1.1\r\nhost: "
    )
    assert f'Authorization: Bearer {TOKEN}\r\nIf-None-Match: "a"\r\n' in head
    assert head.endswith("\r\n\r\n")
    assert 1 == head.count("\r\n\r\n")


def test_tokens_have_turns_and_bytes_come_again_as_often_as_ordered(tmp_path: Path) -> None:
    """With two repeats, the third time that a token asks its request is a new one."""
    tokens = tmp_path / "tokens"
    tokens.write_text("a\nb\n")
    order = Order(1, f"{TOKEN}-{TURN}", 1, 1, str(tokens), repeats=2)
    assert [b"a-9-0", b"b-9-0", b"a-9-0", b"b-9-0", b"a-9-1", b"b-9-1"] == list(islice(make_requests(order, "9"), 6))


def test_without_repeats_every_request_comes_again(tmp_path: Path) -> None:
    """The bytes depend on the token alone."""
    tokens = tmp_path / "tokens"
    tokens.write_text("a\nb\n")
    assert [b"a", b"b", b"a"] == list(islice(make_requests(Order(1, TOKEN, 1, 1, str(tokens)), "9"), 3))


def make_measured(server: str, base: str, *cpu_us: float) -> Measured:
    samples = [Sample(Load({200: 10}, 0, 1.0, 1.0, 2.0, 3.0), cpu, RedisUsage(1, 1.0, 1.0)) for cpu in cpu_us]
    return Measured("The whole job", "304", server, base, True, 32, 1000, False, 10**7, samples)


def test_proportions_are_those_of_the_same_round() -> None:
    """A round in which everything was slow changes no proportion."""
    rows = [make_measured("gateway", "304: nginx", 100, 900, 300), make_measured("nginx", "", 50, 450, 150)]
    results = Results("1.2.3", "2026-11-30", "3.11", "cpu", 2, True, (0.1, 1.0), "wrk", 3, 1.0, ["node: no npm"], rows)
    assert [2.0, 2.0, 2.0] == results.ratios(rows[0], lambda one: one.cpu_us_per_request)
    assert [] == results.ratios(rows[1], lambda one: one.cpu_us_per_request)
    report = build_report(results)
    assert "| 304 | gateway | 30.0 (10.0–90.0) | 2.00 (2.00–2.00) |" in report  # noqa: RUF001 - as the report has it
    assert "Left out: node: no npm." in report


def make_soak() -> Soak:
    changes = Counter[str]()
    return Soak(cast(Any, None), cast(Any, changes), 1)


def test_the_soak_sees_an_answer_that_a_change_forbids() -> None:
    """A revoked token that is answered 200 is a fault, by a request that was sent after the revocation."""
    soak, token = make_soak(), Token("text", "id", Owner("acme"), "wide")
    soak.take(token, token.version, 200)
    token.is_revoked = True
    soak.take(token, token.version, 401)
    assert [] == soak.wrong
    soak.take(token, token.version, 200)
    assert ["token id was answered 200, allowed: {401}"] == soak.wrong
    assert 3 == soak.checked


def test_the_soak_checks_no_answer_that_a_change_overtook() -> None:
    """While a change is under way, and after one that came between, both answers may be right."""
    soak, token = make_soak(), Token("text", "id", Owner("acme"), "wide")
    sent_before = token.version
    with token.changing():
        soak.take(token, token.version, 401)
    token.is_active = False
    soak.take(token, sent_before, 200)
    token.owner.version += 2
    soak.take(token, (2, 0), 200)
    assert ([], 0, 3) == (soak.wrong, soak.checked, soak.answered)
