"""Which target gets a request, when one is left alone, and what may be sent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from gateway.core.errors import (
    UpstreamBroken,
    UpstreamBusy,
    UpstreamDropped,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.core.upstream.balancing import (
    BREAK_SECONDS,
    CLOSED,
    FAILED_CHECKS,
    FAILURES,
    FIRST_EJECTION_SECONDS,
    LONGEST_EJECTION_SECONDS,
    WELL,
    Health,
    after_answer,
    after_attempt,
    after_check,
    after_failure,
    choose,
    is_available,
    may_repeat,
    may_try,
    while_trying,
)

NOW = 1000.0
OUT = Health(failed_checks=FAILED_CHECKS)


class Candidate(Struct):
    """A target with so many requests under way."""

    outstanding: int
    health: Health = WELL


CANDIDATES = st.builds(Candidate, st.integers(0, 5), st.sampled_from([WELL, OUT, Health(ejected_until=NOW + 1)]))


@given(st.lists(CANDIDATES, min_size=1, max_size=6), st.integers(0, 100))
def test_the_fewest_outstanding_of_those_that_are_well(candidates: list[Candidate], turn: int) -> None:
    """Nobody who is available has fewer; one who is not is chosen only where nobody is."""
    chosen = candidates[choose(candidates, NOW, turn)]
    well = [candidate for candidate in candidates if is_available(candidate.health, NOW)]
    assert chosen in (well or candidates)
    assert min(candidate.outstanding for candidate in well or candidates) == chosen.outstanding


def test_equals_take_turns() -> None:
    """An idle gateway does not send everything to the first target."""
    candidates = [Candidate(0), Candidate(1), Candidate(0)]
    assert [0, 2, 2, 0] == [choose(candidates, NOW, turn) for turn in range(4)]


def test_a_breaker_opens_after_refusals_in_a_row() -> None:
    """And lets one request through after each rest; any sign of life closes it."""
    breaker = CLOSED
    for number in range(1, FAILURES + 1):
        assert may_try(breaker, NOW)
        breaker = after_attempt(breaker, UpstreamUnreachable(), NOW)
        assert number == breaker.refusals
    assert not may_try(breaker, NOW + BREAK_SECONDS - 0.001)
    assert may_try(breaker, NOW + BREAK_SECONDS)
    trying = while_trying(breaker, NOW + BREAK_SECONDS)
    assert not may_try(trying, NOW + BREAK_SECONDS)
    assert trying == after_attempt(trying, UpstreamBusy(), NOW + BREAK_SECONDS)
    for sign in (None, UpstreamTimeout(), UpstreamBroken(), UpstreamDropped()):
        assert CLOSED == after_attempt(trying, sign, NOW + BREAK_SECONDS)


def test_one_that_cannot_be_reached_is_ejected_at_once() -> None:
    """Nothing was sent, so nothing is lost by asking another one; it comes back when its time is over."""
    health = after_failure(WELL, UpstreamUnreachable(), NOW)
    assert not is_available(health, NOW + FIRST_EJECTION_SECONDS - 0.001)
    assert is_available(health, NOW + FIRST_EJECTION_SECONDS)


@pytest.mark.parametrize("error", [UpstreamTimeout(), UpstreamBroken(), UpstreamDropped()])
def test_other_failures_eject_when_they_come_in_a_row(error: UpstreamError) -> None:
    """An answer in between is forgiveness."""
    health = WELL
    for _ in range(FAILURES - 1):
        health = after_failure(health, error, NOW)
    assert is_available(health, NOW)
    assert WELL == after_answer(health)
    assert not is_available(after_failure(health, error, NOW), NOW)


def test_each_ejection_lasts_twice_as_long() -> None:
    """Up to a minute; the first failure after it is enough for the next."""
    health, now, lengths = WELL, NOW, []
    for _ in range(9):
        health = after_failure(health, UpstreamUnreachable() if health is WELL else UpstreamTimeout(), now)
        lengths.append(health.ejected_until - now)
        now = health.ejected_until
    assert [1, 2, 4, 8, 16, 32, LONGEST_EJECTION_SECONDS, LONGEST_EJECTION_SECONDS, 60] == lengths


def test_what_fails_during_an_ejection_prolongs_nothing() -> None:
    """A hundred requests that were under way when the target broke count as one failure."""
    health = after_failure(WELL, UpstreamUnreachable(), NOW)
    assert health == after_failure(health, UpstreamUnreachable(), NOW + 0.5)


def test_being_busy_is_no_failure() -> None:
    """A target that has all it may have is doing its work."""
    assert WELL == after_failure(WELL, UpstreamBusy(), NOW)


def test_checks_take_a_target_out_and_back() -> None:
    """Two failed ones in a row take it out, requests that it answers do not bring it back, one good check does."""
    once = after_check(WELL, is_good=False)
    assert is_available(once, NOW)
    out = after_check(once, is_good=False)
    assert not is_available(out, NOW + 1e9)
    assert not is_available(after_answer(out), NOW)
    assert out == after_check(out, is_good=False)
    assert WELL == after_check(out, is_good=True)
    assert WELL == after_check(after_failure(WELL, UpstreamUnreachable(), NOW), is_good=True)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "PROPFIND"])
@pytest.mark.parametrize("has_content", [False, True])
def test_what_may_be_sent_again(method: str, has_content: bool) -> None:
    """What was never sent, always; what got no byte of an answer, if it is idempotent and without content."""
    is_harmless = method not in {"POST", "PATCH", "PROPFIND"} and not has_content
    assert may_repeat(UpstreamUnreachable(), method, has_content=has_content)
    assert is_harmless == may_repeat(UpstreamDropped(), method, has_content=has_content)
    for error in (UpstreamBroken(), UpstreamTimeout(), UpstreamBusy()):
        assert not may_repeat(error, method, has_content=has_content)
