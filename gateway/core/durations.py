"""Durations as operators write them: a whole number and one of s, m, h, d, w."""

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")


def parse_duration(text: str) -> int:
    """Seconds in `text`, such as 90 for "90s"; ValueError says what is expected."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a whole number and s, m, h, d or w, such as 10m")
    return int(match[1]) * _SECONDS[match[2]]
