"""Durations as operators write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quotas.model import parse_duration

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@given(st.integers(0, 999_999_999), st.sampled_from(sorted(SECONDS)))
def test_durations_are_read_in_seconds(number: int, unit: str) -> None:
    """A duration is its number times the seconds of its unit."""
    assert number * SECONDS[unit] == parse_duration(f"{number}{unit}")


@pytest.mark.parametrize(
    "text", ["", "10", "m", "10 m", "-1m", "1.5h", "10M", "10m\n", "10mm", "1h30m", "٣m", "1" * 10 + "s"]
)
def test_what_is_no_duration_is_told(text: str) -> None:
    """Anything else is refused with what is expected instead."""
    with pytest.raises(ValueError) as refused:
        parse_duration(text)
    assert f"{text!r} is not a duration: write a whole number and s, m, h, d or w, such as 10m" == str(refused.value)
