"""What a stored answer may be used for (RFC 9111 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cache.backend_fields import CONDITIONAL_FIELDS
from gateway.core.cache.model import Export
from gateway.core.cache.reuse import (
    AnswerPlan,
    Forward,
    Reuse,
    Unsatisfiable,
    is_failure,
    plan_answer,
    plan_stand_in,
)
from gateway.core.http.messages import Field
from gateway.core.policies.model import CacheRule, Rule
from tests.core.cache.answers import FIXED, SHARED, UNCACHED, cc, export
from tests.core.samples import NOW_MILLISECONDS as NOW
from tests.core.samples import admit, make_request, make_rule

STORED = export()
TAG = STORED.head.tag
END = STORED.head.fresh_until
LENIENT = make_rule(
    CacheRule(60, "project", stale_if_error_seconds=600, stale_while_revalidate_seconds=30, may_share=True)
)
LATE = export(rule=LENIENT)


def plan(
    *fields: Field, stored: Export | None = STORED, rule: Rule = FIXED, method: str = "GET", now: int = NOW
) -> AnswerPlan:
    return plan_answer(admit(rule), make_request(*fields, method=method), [stored] if stored else [], now)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (plan(rule=UNCACHED), Forward("")),
        (plan(method="POST"), Forward("method")),
        (plan(stored=None), Forward("uri-miss", may_wait=True)),
        (plan(stored=None, method="HEAD"), Forward("uri-miss")),
        (plan(cc(b"No-Cache")), Forward("request", STORED)),
        (plan(cc(b"no-store")), Forward("request", STORED)),
        (plan((b"pragma", b"no-cache")), Forward("request", STORED)),
        (plan((b"pragma", b"no-cache"), cc(b"max-age=5")), Reuse(STORED)),
        (plan((b"pragma", b"other")), Reuse(STORED)),
        (plan(now=END), Forward("stale", STORED, may_wait=True)),
        (plan(now=END - 1), Reuse(STORED)),
        (plan(method="HEAD"), Reuse(STORED)),
        (plan((b"if-none-match", TAG)), Reuse(STORED, is_unmodified=True)),
        (plan((b"if-none-match", TAG), method="HEAD"), Reuse(STORED, is_unmodified=True)),
        (plan((b"if-none-match", TAG), now=END), Forward("stale", STORED, may_wait=True)),
        (plan((b"if-none-match", TAG), cc(b"no-cache")), Forward("request", STORED)),
        (plan(cc(b"only-if-cached")), Reuse(STORED)),
        (plan(cc(b"only-if-cached"), stored=None), Unsatisfiable()),
        (plan(cc(b"only-if-cached"), now=END), Unsatisfiable()),
        (plan(cc(b"only-if-cached, no-cache")), Unsatisfiable()),
    ],
)
def test_the_plan_follows_the_request_and_the_stored_answer(found: AnswerPlan, expected: AnswerPlan) -> None:
    """Reuse, with or without content, or ask, with the word of RFC 9211 for why; or nothing that is stored will do."""
    assert expected == found


@pytest.mark.parametrize(
    ("asked", "seconds", "expected"),
    [
        (b"max-age=0", 0, "request"),
        (b"max-age=10", 10, ""),
        (b"max-age=10", 11, "request"),
        (b"min-fresh=10", 49, ""),
        (b"min-fresh=10", 50, "request"),
        (b"min-fresh=100", 0, "request"),
        (b"max-stale=10", 69, "max-stale"),
        (b"max-stale=10", 70, "stale"),
        (b"max-stale", 10_000, "max-stale"),
        (b"max-stale=10, max-age=5", 65, "stale"),
        (b"max-stale=100, max-age=99", 99, "max-stale"),
        (b"max-stale=x", 61, "stale"),
        (b"nothing-to-see-here", 59, ""),
    ],
)
def test_a_client_says_how_fresh_it_wants_it(asked: bytes, seconds: int, expected: str) -> None:
    """max-age, min-fresh and max-stale of a request (RFC 9111 5.2.1)."""
    found = plan(cc(asked), now=NOW + seconds * 1000)
    assert expected == (found.detail if isinstance(found, Reuse) else found.why if isinstance(found, Forward) else None)


@pytest.mark.parametrize(
    ("directives", "may"),
    [
        (b"max-age=60", True),
        (b"max-age=60, immutable", True),
        (b"max-age=60, must-revalidate", False),
        (b"max-age=60, proxy-revalidate", False),
        (b"max-age=60, s-maxage=60", False),
        (b"max-age=60, no-cache", False),
    ],
)
def test_a_backend_forbids_stale_answers(directives: bytes, may: bool) -> None:
    """RFC 9111 4.2.4: then neither a client's max-stale nor the rule's own times bring one."""
    stored = export(cc(directives), (b"etag", b'"a"'), rule=SHARED)
    assert may == isinstance(plan(cc(b"max-stale"), stored=stored, rule=SHARED, now=NOW + 61_000), Reuse)


@pytest.mark.parametrize(
    ("fields", "seconds", "expected"),
    [
        ([], 59, Reuse(LATE)),
        ([], 60, Reuse(LATE, "stale-while-revalidate")),
        ([(b"if-none-match", TAG)], 89, Reuse(LATE, "stale-while-revalidate", is_unmodified=True)),
        ([], 90, Forward("stale", LATE, may_wait=True)),
        ([cc(b"max-age=100")], 61, Forward("stale", LATE, may_wait=True)),
        ([cc(b"min-fresh=1")], 61, Forward("stale", LATE, may_wait=True)),
    ],
)
def test_a_stale_answer_is_used_while_the_backend_is_asked(
    fields: list[Field], seconds: int, expected: AnswerPlan
) -> None:
    """stale-while-revalidate, for who does not ask for more than that (RFC 5861 3, RFC 9111 5.2.1.1)."""
    assert expected == plan(*fields, stored=LATE, rule=LENIENT, now=NOW + seconds * 1000)


@pytest.mark.parametrize(
    ("forward", "seconds", "expected"),
    [
        (Forward("stale", LATE), 100, Reuse(LATE, "stale-if-error")),
        (Forward("stale", LATE), 659, Reuse(LATE, "stale-if-error")),
        (Forward("stale", LATE), 660, None),
        (Forward("request", LATE), 100, None),
        (Forward("uri-miss"), 100, None),
    ],
)
def test_a_stale_answer_stands_in(forward: Forward, seconds: int, expected: Reuse | None) -> None:
    """stale-if-error (RFC 5861 4), and not for who demanded that the backend be asked."""
    assert expected == plan_stand_in(make_request(), forward, NOW + seconds * 1000)


@pytest.mark.parametrize("status", [200, 404, 499, 500, 501, 502, 503, 504, 505, 508, 511, 599])
def test_four_statuses_are_failures(status: int) -> None:
    """A stale answer stands in for the errors of RFC 5861 4, and not for any other answer of the backend."""
    assert (status in (500, 502, 503, 504)) == is_failure(status)


@pytest.mark.parametrize("name", [b"if-match", b"if-unmodified-since"])
def test_a_condition_for_origins_is_for_the_backend(name: bytes) -> None:
    """RFC 9111 4.3.2: it is not applicable to a cache, so the backend is asked, whatever is stored."""
    assert Forward("request", STORED) == plan((name, b"x"))
    assert Forward("uri-miss") == plan((name, b"x"), stored=None)
    assert Forward("request", STORED) == plan((name, b"x"), cc(b"max-stale"))
    assert Unsatisfiable() == plan((name, b"x"), cc(b"only-if-cached"))


LANGUAGE, OTHER = b"accept-language", b"foo"


@pytest.mark.parametrize(
    ("name", "stored", "asked", "expected"),
    [
        (LANGUAGE, [], [], True),
        (LANGUAGE, [], [b"de"], False),
        (LANGUAGE, [b"de"], [], False),
        (LANGUAGE, [], [b""], False),
        (LANGUAGE, [b"en, de"], [b"EN ,  de"], True),
        (LANGUAGE, [b"en, de"], [b"de, en"], False),
        (OTHER, [b"1, 2"], [b"1", b"2"], True),
        (OTHER, [b"1,2"], [b" 1, 2 "], True),
        (OTHER, [b"a", b"b"], [b"b", b"a"], False),
        (OTHER, [b"A"], [b"a"], False),
        (OTHER, [b'"a, b"'], [b'"a,b"'], False),
    ],
)
def test_a_varying_field_must_mean_the_same(
    name: bytes, stored: list[bytes], asked: list[bytes], expected: bool
) -> None:
    """A stored answer is used where each field that Vary names says what it said then (RFC 9111 4.1)."""
    kept = export((b"vary", name.title()), request=make_request(*((name, value) for value in stored)))
    found = plan(*((name, value) for value in asked), stored=kept)
    assert (Reuse(kept) if expected else Forward("vary-miss", may_wait=True)) == found


def test_of_several_variants_the_newest_that_matches_is_used() -> None:
    """In whatever order Redis gives them."""
    german, french = make_request((LANGUAGE, b"de")), make_request((LANGUAGE, b"fr"))
    vary = (b"vary", b"accept-language")
    old, new, other = export(vary, request=german), export(now=NOW + 1), export(vary, request=french, now=NOW + 2)
    for variants in ([old, new, other], [other, new, old]):
        assert Reuse(new) == plan_answer(admit(FIXED), german, variants, NOW + 3)
        assert Reuse(other) == plan_answer(admit(FIXED), french, variants, NOW + 3)


@given(st.binary(max_size=60), st.integers(0, 200))
def test_a_stale_answer_is_never_taken_for_a_fresh_one(asked: bytes, seconds: int) -> None:
    """Whatever a client asks for, an answer past its time is used only with the reason for it."""
    found = plan(cc(asked), now=NOW + seconds * 1000)
    if isinstance(found, Reuse):
        assert (found.detail == "") == (seconds < 60)


def test_the_conditions_of_rfc_9110_are_kept_from_the_backend() -> None:
    """Where the whole answer is wanted, no condition that a cache evaluates, and no range, reaches the backend."""
    expected = {b"if-none-match", b"if-modified-since", b"if-range", b"range"}
    assert expected == CONDITIONAL_FIELDS
