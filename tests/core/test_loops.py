"""Requests that come back (RFC 8586)."""

import pytest

from gateway.core.http.messages import Field
from gateway.core.upstream.loops import build_mark, is_in_loop

MARK = build_mark("instance", "shop")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], False),
        ([MARK], True),
        ([(b"cdn-loop", b"other.example; a=b, " + MARK[1])], True),
        ([(b"cdn-loop", MARK[1].replace(b";", b" ; ") + b", other.example")], True),
        ([(b"cdn-loop", b"other.example"), MARK], True),
        ([(b"via", MARK[1])], False),
        ([(b"cdn-loop", b"gateway")], False),
        ([(b"cdn-loop", MARK[1][:-1])], False),
        ([build_mark("instance", "stock")], False),
        ([build_mark("another", "shop")], False),
    ],
)
def test_only_the_own_mark_is_a_loop(fields: list[Field], expected: bool) -> None:
    """Other gateways, other policies of this one and other networks may all stand in between."""
    assert expected == is_in_loop(fields, MARK)


def test_a_mark_tells_nothing() -> None:
    """Neither the policy's name nor the instance can be read from it."""
    assert not any(secret in MARK[1] for secret in (b"shop", b"instance"))
