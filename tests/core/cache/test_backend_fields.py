"""Variants are chosen by what the backend is told (RFC 9111 4.1)."""

import pytest
from msgspec.structs import replace

from gateway.core.cache.backend_fields import AS_IT_IS, backend_fields, build_whole_fields, read_selection
from gateway.core.cache.reuse import Forward, Reuse, plan_answer
from gateway.core.http.messages import Field, RequestHead, field_values
from gateway.core.policies.model import FieldEdits, Rule
from gateway.core.upstream.client_fields import fold_all
from tests.core.cache.answers import FIXED, export
from tests.core.samples import NOW_MILLISECONDS as NOW
from tests.core.samples import RECORD, admit, make_request

REQUEST = make_request()


def is_reused(vary: bytes, stored: RequestHead, asked: RequestHead, rule: Rule = FIXED) -> bool:
    """Whether the answer to one request, which varies so, is given to another one."""
    kept = export((b"vary", vary), request=stored, rule=rule)
    plan = plan_answer(admit(rule), asked, [kept], NOW)
    assert plan in (Reuse(kept), Forward("vary-miss", may_wait=True))
    return isinstance(plan, Reuse)


@pytest.mark.parametrize(
    ("vary", "asked", "expected"),
    [
        (b"X-Forwarded-Host", make_request((b"x-forwarded-host", b"evil.example")), True),
        (b"X-Forwarded-Host", replace(REQUEST, authority="other.example"), False),
        (b"X-Forwarded-Proto", make_request((b"x-forwarded-proto", b"http")), True),
        (b"X-Forwarded-Proto", replace(REQUEST, scheme="http"), False),
        (b"X-Forwarded-For", make_request((b"x-forwarded-for", b"203.0.113.9")), True),
        (b"X-Forwarded-For", replace(REQUEST, forwarded_for="203.0.113.9"), False),
        (b"Host", replace(REQUEST, authority="shop.example"), False),
        (b"X-Real-IP", make_request((b"x-real-ip", b"203.0.113.9")), True),
        (b"If-None-Match", make_request((b"if-none-match", b'"a"')), True),
        (b"Accept-Language", make_request((b"accept-language", b"de"), (b"connection", b"accept-language")), True),
        (b"Accept-Language", make_request((b"accept-language", b"de")), False),
        (b"Accept-Language", make_request((b"accept_language", b"de")), False),
        (b"Accept-Language", make_request((b"accept.language", b"de")), False),
    ],
)
def test_what_a_client_says_counts_where_the_backend_hears_it(vary: bytes, asked: RequestHead, expected: bool) -> None:
    """What is not passed on chooses no variant, and what the gateway says in its place does."""
    assert expected == is_reused(vary, REQUEST, asked)
    assert expected == is_reused(vary, asked, REQUEST)


def test_spellings_of_a_field_are_told_apart() -> None:
    """A backend that takes `Accept_Language` for Accept-Language and one that does not are both answered right."""
    spelled, plain = make_request((b"accept_language", b"de")), make_request((b"accept-language", b"de"))
    assert not is_reused(b"Accept-Language", spelled, plain)
    assert not is_reused(b"Accept-Language", plain, spelled)


def test_identity_chooses_a_variant() -> None:
    """As the backend is told it: who asks with the same scopes shares an answer that varies by them."""
    kept = export((b"vary", b"X-Gateway-Scopes"))
    for scopes, expected in (("read write", Reuse(kept)), ("read", Forward("vary-miss", may_wait=True))):
        admission = admit(FIXED, replace(RECORD, scopes=scopes, digest="cd" * 32))
        assert expected == plan_answer(admission, REQUEST, [kept], NOW)


def test_forwarded_chooses_a_variant_where_it_is_sent() -> None:
    """It names the client, so clients do not share what varies by it."""
    policy = replace(FIXED.policy, upstream=replace(FIXED.policy.upstream, sends_forwarded=True))
    sending = replace(FIXED, policy=policy)
    elsewhere = replace(REQUEST, client="192.0.2.8", forwarded_for="192.0.2.8")
    assert is_reused(b"Forwarded", REQUEST, elsewhere)
    assert not is_reused(b"Forwarded", REQUEST, elsewhere, sending)
    assert is_reused(b"Forwarded", REQUEST, make_request((b"forwarded", b"for=203.0.113.9")), sending)


def test_what_the_policy_sets_is_the_same_for_all() -> None:
    """A client's value of a field that is replaced, or removed, chooses nothing."""
    edits = FieldEdits(fold_all([b"x-env", b"accept-language"]), ((b"x-env", b"prod"),))
    policy = replace(FIXED.policy, upstream=replace(FIXED.policy.upstream, request_edits=edits))
    editing = replace(FIXED, policy=policy)
    for name in (b"x-env", b"x_env", b"accept-language"):
        asked = make_request((name, b"test"))
        assert is_reused(b"X-Env, Accept-Language", REQUEST, asked, editing)
        assert not is_reused(b"X-Env, Accept-Language", REQUEST, asked)
    assert ((b"x-env", b"prod"),) == read_selection([b"x-env"], REQUEST, admit(editing))


@pytest.mark.parametrize("field", [(b"accept-language", b"de"), (b"cookie", b"a=1"), (b"x-custom", b"1")])
def test_what_passes_as_it_is_is_read_from_the_request(field: Field) -> None:
    """Nothing is built for it: this is on the way of every stored answer that varies."""
    request = make_request(field)
    assert request.fields is backend_fields([field[0]], request, admit(FIXED))


def test_a_whole_answer_is_asked_for_as_it_is() -> None:
    """Without the client's conditions and codings, in whatever spelling."""
    request = make_request(*[(name, b"x") for name in (b"accept-encoding", b"accept_encoding", b"if.none.match")])
    fields = build_whole_fields(request, admit(FIXED))
    assert [AS_IT_IS[1]] == field_values(fields, AS_IT_IS[0])
    assert [] == [field for field in fields if field[1] == b"x"]
