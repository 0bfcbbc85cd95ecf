"""Bars, shares and large numbers."""

import pytest

from gateway.core.pages.formatting import HEIGHT, LEAST, STEP, build_bars, describe_number, describe_share
from gateway.core.usage import DAY_SECONDS, UsagePoint


def points(*requests: int) -> list[UsagePoint]:
    return [UsagePoint(number * DAY_SECONDS, count) for number, count in enumerate(requests)]


def test_the_busiest_day_is_as_high_as_the_drawing() -> None:
    """The others are in proportion, side by side, standing on the ground."""
    bars = build_bars(points(10, 5, 0))
    assert [HEIGHT, HEIGHT // 2, 1] == [bar.height for bar in bars]
    assert [0, STEP, 2 * STEP] == [bar.x for bar in bars]
    assert {HEIGHT} == {bar.y + bar.height for bar in bars}


def test_few_requests_do_not_look_like_none() -> None:
    """One of a million is seen; none at all is a line."""
    assert [HEIGHT, LEAST, 1] == [bar.height for bar in build_bars(points(1_000_000, 1, 0))]
    assert [1, 1] == [bar.height for bar in build_bars(points(0, 0))]
    assert [] == build_bars([])


def test_a_bar_says_its_day_and_its_number() -> None:
    """For who points at it."""
    assert "2 Jan 1970: 1\u202f234" == build_bars(points(1, 1234))[1].words


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (1, 2, "50 %"),
        (1, 8, "12.5 %"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 1_000_000, "< 0.1 %"),
        (999_999, 1_000_000, "> 99.9 %"),
        (0, 0, "\u2013"),
        (0.909, 1, "90.9 %"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(part: float, whole: float, words: str) -> None:
    """One failure in a million is not none."""
    assert words == describe_share(part, whole)


def test_large_numbers_are_read_in_threes() -> None:
    """By a space that does not break a line."""
    assert ["0", "999", "1\u202f000", "12\u202f345\u202f678"] == [describe_number(n) for n in (0, 999, 1000, 12345678)]
