"""Times as people write and read them on the command line."""

from datetime import UTC, datetime

import click

from gateway.core.durations import parse_duration


def parse_when(text: str, now: int) -> int:
    """Unix seconds of a duration from `now` (90d) or of an ISO 8601 time with zone; click.BadParameter otherwise."""
    try:
        return now + parse_duration(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise click.BadParameter(
            f"{text!r} is neither a duration, such as 90d, nor a time, such as 2027-01-31T00:00:00Z"
        )
    return int(when.timestamp())


def parse_end(text: str, now: int) -> int | None:
    """The end of a token; None for `never`."""
    return None if text == "never" else parse_when(text, now)


def parse_start(text: str, now: int) -> int | None:
    """The beginning of a token; None, no bound, for `now` and for `never`."""
    return None if text in ("now", "never") else parse_when(text, now)


def read_duration(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """The seconds of an option that is a duration, None where it is not given; click.BadParameter for what is none."""
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def format_time(seconds: int | None) -> str | None:
    """ISO 8601 in UTC of a Unix time; None for none."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_day(seconds: int) -> str:
    """The day of a Unix time in UTC, ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
