"""When the next request may be sent. Time is a list of what was waited for."""

import pytest

from gateway.pull.pace import (
    Clock,
    Limit,
    Pace,
    Permit,
    TooLate,
    WaitForAnswer,
    choose_delay,
    parse_ratelimit,
    parse_retry_after,
)
from gateway.pull.transport import Head


class Time:
    """A clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waited: list[float] = []

    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: self.now, self.wait, lambda: 0.0)

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.now += seconds
        return False


def answer(ratelimit: str) -> Head:
    return Head(200, [("ratelimit", ratelimit)])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17.0),
        ("0", 0.0),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    """Seconds, or a date; what is neither says nothing (RFC 9110 10.2.3)."""
    assert seconds == parse_retry_after(Head(503, [("retry-after", value)]), 10.0)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_nobody_comes_back_before_retry_after(chance: float) -> None:
    """What chance adds is at least a second wide, and a tenth of a long time."""
    assert 17 + chance * 1.7 == choose_delay(17, 1, chance)
    assert chance == choose_delay(0, 5, chance)


def test_delays_double_up_to_a_bound() -> None:
    """Where the server does not say how long; chance takes up to a half away."""
    assert [1, 2, 4, 8, 16, 30, 30] == [choose_delay(None, attempts, 1.0) for attempts in range(1, 8)]
    assert 0.5 == choose_delay(None, 1, 0.0)


def test_the_field_is_read_by_name() -> None:
    """Parameters in any order; what is not understood says nothing."""
    policy = ("ratelimit-policy", '"minute";q=9;w=60, "parallel";q=3;qu="concurrent-requests"')
    head = Head(200, [policy, ("ratelimit", '"minute";t=17;r=0, "parallel";r=2;pk=:aa==:')])
    assert {"minute": Limit(0, 17, 9), "parallel": Limit(2, None, 3)} == parse_ratelimit(head)
    assert {} == parse_ratelimit(answer("limit=10, remaining=5, reset=7"))
    assert {} == parse_ratelimit(answer('"minute";r=1.5;t=2'))


def permits(pace: Pace, number: int, deadline: float = 2000) -> list[Permit]:
    """Begin so many requests, none of which has to wait for another one."""
    found = [pace.admit(deadline) for _ in range(number)]
    assert [Permit(count) for count in range(1, number + 1)] == found
    return [one for one in found if isinstance(one, Permit)]


def test_before_the_first_answer_one_request_is_in_flight() -> None:
    """Limits that nobody knows are not tried with all at once."""
    pace = Pace(Time().clock())
    permits(pace, 1)
    assert WaitForAnswer() == pace.next_step(1000)


def test_then_as_many_are_in_flight_as_remain() -> None:
    """Those in flight may be of those that remained at the last answer."""
    pace = Pace(Time().clock())
    (first,) = permits(pace, 1)
    pace.end(first, answer('"minute";r=2;t=60'))
    permits(pace, 2)
    assert WaitForAnswer() == pace.next_step(1000)


def test_of_two_answers_that_come_together_the_narrower_counts() -> None:
    """Either may come last; when nothing is in flight any more, the next answer counts as it is."""
    for first_told, last_told in ((0, 1), (1, 0)):
        pace = Pace(Time().clock())
        (alone,) = permits(pace, 1)
        pace.end(alone, answer('"hour";r=2;t=3600'))
        one, other = permits(pace, 2)
        pace.end(other, answer(f'"hour";r={first_told};t=3600'))
        pace.end(one, answer(f'"hour";r={last_told};t=3600'))
        assert isinstance(pace.admit(2000), TooLate)
    pace = Pace(Time().clock())
    (alone,) = permits(pace, 1)
    pace.end(alone, answer('"hour";r=2;t=3600'))
    one, other = permits(pace, 2)
    for permit in (one, other):
        pace.end(permit, answer('"hour";r=1;t=3600'))
    (alone,) = permits(pace, 1)
    pace.end(alone, answer('"hour";r=5;t=3600'))
    permits(pace, 5)


@pytest.mark.parametrize(("in_flight", "remaining", "room"), [(1, 2, 2), (2, 1, 2), (3, 1, 3), (1, 0, 1)])
def test_a_quota_of_requests_in_flight_counts_ones_own(in_flight: int, remaining: int, room: int) -> None:
    """What is left beside them, and they; never more than the quota."""
    pace = Pace(Time().clock())
    (first,) = permits(pace, 1)
    pace.end(first, None)
    pace.admit(2000)
    policy = ("ratelimit-policy", '"parallel";q=3;qu="concurrent-requests"')
    pace.end(Permit(in_flight), Head(200, [policy, ("ratelimit", f'"parallel";r={remaining}')]))
    permits(pace, room)
    assert WaitForAnswer() == pace.next_step(1000)


def test_a_quota_that_is_used_up_is_waited_for() -> None:
    """Until its reset, and not with a request that would be refused."""
    time = Time()
    pace = Pace(time.clock())
    (first,) = permits(pace, 1)
    pace.end(first, answer('"minute";r=0;t=34, "day";r=9;t=3400'))
    permits(pace, 1)
    assert [34] == time.waited


def test_a_reset_beyond_the_end_of_the_run_is_not_waited_for() -> None:
    """It is said at once, with the quota and the seconds."""
    time = Time()
    pace = Pace(time.clock())
    (first,) = permits(pace, 1, 1010)
    pace.end(first, answer('"minute";r=0;t=34'))
    reason = 'the quota "minute" is used up for 34 s more, longer than the time that is left'
    assert TooLate(reason) == pace.admit(1010)
    assert [] == time.waited


def test_a_server_that_asks_to_wait_holds_all_requests() -> None:
    """Not only the one that it refused."""
    time = Time()
    pace = Pace(time.clock())
    (first,) = permits(pace, 1)
    pace.end(first, None, hold_seconds=5)
    permits(pace, 1)
    assert [5] == time.waited
