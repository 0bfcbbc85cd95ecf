"""Times in words."""

import pytest

from gateway.core.pages.formatting import describe_day, describe_distance, describe_moment, last_day, parse_day

NOW = 1_795_266_309  # 21 November 2026, 13:05:09 UTC


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (-44, "just now"),
        (44, "in a moment"),
        (-45, "1 minute ago"),
        (-119, "1 minute ago"),
        (-120, "2 minutes ago"),
        (3600, "in 1 hour"),
        (-86400 * 6, "6 days ago"),
        (86400 * 7, "in 1 week"),
        (86400 * 90, "in 3 months"),
        (-86400 * 800, "2 years ago"),
    ],
)
def test_a_distance_is_told_in_its_largest_unit(seconds: int, words: str) -> None:
    """Cut off, never rounded up: a token does not look longer valid than it is."""
    assert words == describe_distance(NOW + seconds, NOW)


def test_moments_are_exact_and_in_utc() -> None:
    """To the second, with the zone."""
    assert "21 November 2026, 13:05:09 UTC" == describe_moment(NOW)
    assert "21 Nov 2026" == describe_day(NOW)


def test_a_day_is_over_at_its_end() -> None:
    """What ends on a day works through that day."""
    ends = parse_day("2026-11-21")
    assert ends is not None
    assert "22 November 2026, 00:00:00 UTC" == describe_moment(ends)
    assert "2026-11-20" == last_day(ends - 1)
    assert "2026-11-21" == last_day(ends)
    assert "2026-11-21" == last_day(ends + 86399)


@pytest.mark.parametrize("text", ["", "2026-02-30", "21.11.2026", "2026-11-21T00:00", "0000-01-01"])
def test_what_is_no_day_is_none(text: str) -> None:
    """Whatever a form may send."""
    assert parse_day(text) is None
