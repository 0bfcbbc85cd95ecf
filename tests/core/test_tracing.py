"""Trace context: what is believed of a client's, and what the backend is told."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.http.messages import Field
from gateway.core.http.tracing import Parent, build_trace_fields, parse_traceparent, parse_tracestate, trace_of
from tests.core.samples import make_request

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ([PARENT], 1),
        ([f"00-{TRACE}-{SPAN}-00".encode()], 0),
        ([f"00-{TRACE}-{SPAN}-03".encode()], 3),
        ([f"00-{TRACE}-{SPAN}-ff".encode()], 3),
        ([f"cc-{TRACE}-{SPAN}-01".encode()], 1),
        ([f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like".encode()], 1),
        ([f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like".encode()], None),
        ([f"00-{TRACE}-{SPAN}-01-more".encode()], None),
        ([f"ff-{TRACE}-{SPAN}-01".encode()], None),
        ([f"00-{'0' * 32}-{SPAN}-01".encode()], None),
        ([f"00-{TRACE}-{'0' * 16}-01".encode()], None),
        ([PARENT.upper()], None),
        ([f"00-{TRACE}-{SPAN}-1".encode()], None),
        ([f"00-{TRACE[:-1]}-{SPAN}-01".encode()], None),
        ([PARENT, PARENT], None),
        ([PARENT + b"\n"], None),
        ([b""], None),
        ([], None),
    ],
)
def test_a_parent_is_believed_where_it_is_valid(values: list[bytes], flags: int | None) -> None:
    """Lower-case hexadecimals of the right number, not all zeros, once; a later version may go on."""
    assert (None if flags is None else Parent(TRACE, flags)) == parse_traceparent(values)


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([b"congo=t61rcWkgMzE,rojo=00f067"], b"congo=t61rcWkgMzE,rojo=00f067"),
        ([b"a=1", b"b=2"], b"a=1,b=2"),
        ([b" a=1 ,\t, b=2,"], b"a=1,b=2"),
        ([b"fw529a3039@dt=FfAlIEE3, 0a=b c"], b"fw529a3039@dt=FfAlIEE3,0a=b c"),
        ([b"a=1,a=2"], b""),
        ([b"A=1"], b""),
        ([b"a=1,b"], b""),
        ([b"a=1=2"], b""),
        ([b"a="], b""),
        ([b"a=\xc3\xa4"], b""),
        ([b",".join(b"k%d=v" % n for n in range(33))], b""),
        ([b""], b""),
        ([], b""),
    ],
)
def test_a_state_is_passed_whole_or_not_at_all(values: list[bytes], state: bytes) -> None:
    """The members of all lines in their order; one that is malformed or repeated ends all of them."""
    assert state == parse_tracestate(values)


def told(*fields: Field, new_trace: str = "sampled", request_id: str = "request-1") -> dict[bytes, bytes]:
    request = replace(make_request(*fields), id=request_id)
    return dict(build_trace_fields(request, new_trace))  # type: ignore[arg-type]  # one of its literals


def test_the_backend_is_a_child_of_the_gateways_span() -> None:
    """The trace and its state go on; the parent is the span that the access record names."""
    fields = told((b"traceparent", PARENT), (b"tracestate", b"rojo=1"))
    span = trace_of(make_request((b"traceparent", PARENT))).span_id
    assert {b"traceparent": f"00-{TRACE}-{span}-01".encode(), b"tracestate": b"rojo=1"} == fields
    assert SPAN != span


@pytest.mark.parametrize("sent", [[], [(b"traceparent", b"rubbish")], [(b"traceparent", PARENT)] * 2])
@pytest.mark.parametrize(("new_trace", "flags"), [("sampled", b"01"), ("unsampled", b"00")])
def test_a_request_without_a_trace_begins_one(sent: list[Field], new_trace: str, flags: bytes) -> None:
    """Sampled or not, as the policy says; a state without a valid parent is dropped."""
    fields = told(*sent, (b"tracestate", b"rojo=1"), new_trace=new_trace)
    assert [b"traceparent"] == list(fields)
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-" + flags, fields[b"traceparent"])
    assert parse_traceparent([fields[b"traceparent"]]) is not None


def test_a_backend_may_begin_traces_by_itself() -> None:
    """With `none` nothing is said of a new trace, and all of one that the client is in."""
    assert {} == told(new_trace="none")
    assert TRACE.encode() in told((b"traceparent", PARENT), new_trace="none")[b"traceparent"]


def test_each_request_has_a_trace_and_a_span_of_its_own() -> None:
    """Another id or another instant gives others, also where a client repeats its X-Request-Id."""
    one = make_request()
    others = [one, replace(one, id="request-2"), replace(one, received_at=one.received_at + 1e-6)]
    assert 3 == len({trace_of(request).trace_id for request in others})
    assert 3 == len({trace_of(request).span_id for request in others})
    assert trace_of(one) == trace_of(replace(one))


@given(st.lists(st.binary(max_size=80), max_size=3), st.lists(st.binary(max_size=80), max_size=3))
def test_any_bytes_give_a_valid_trace(parents: list[bytes], states: list[bytes]) -> None:
    """Whatever a client sends, what the backend gets is valid."""
    fields = told(*((b"traceparent", value) for value in parents), *((b"tracestate", value) for value in states))
    assert parse_traceparent([fields[b"traceparent"]]) is not None
    assert fields.get(b"tracestate", b"") == parse_tracestate([fields.get(b"tracestate", b"")])
