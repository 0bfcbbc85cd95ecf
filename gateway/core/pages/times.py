"""Times as people read them: how long ago, and exactly. All in UTC."""

from datetime import UTC, datetime

_STEPS = ((31536000, "year"), (2592000, "month"), (604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute"))
_MOMENT_SECONDS = 45
"""Nearer than this is now."""


def describe_distance(seconds: int, now: int) -> str:
    """`3 days ago`, `in 2 hours`, `just now`: from `now` to the time in Unix seconds, in its largest unit, cut off."""
    distance = abs(seconds - now)
    is_past = seconds <= now
    if distance < _MOMENT_SECONDS:
        return "just now" if is_past else "in a moment"
    step, unit = next(((step, unit) for step, unit in _STEPS if distance >= step), (60, "minute"))
    count = max(1, distance // step)
    words = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{words} ago" if is_past else f"in {words}"


def describe_moment(seconds: int) -> str:
    """`21 November 2026, 13:05:09 UTC`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M:%S} UTC"


def describe_day(seconds: int) -> str:
    """`21 Nov 2026`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%b %Y}"


def last_day(seconds: int) -> str:
    """The last day, such as 2027-01-31, that has ended by then, in UTC."""
    return datetime.fromtimestamp(seconds - 86400, UTC).strftime("%Y-%m-%d")


def parse_day(text: str) -> int | None:
    """Unix seconds of the end of a day such as 2027-01-31, in UTC; None for what is none."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(day.timestamp()) + 86400
