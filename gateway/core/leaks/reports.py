"""Leak reports of GitHub's secret scanning: what they say, and what is answered.

Partners get an array of findings, and may answer which of them are real ("token_hash" is SHA-256 of the text).
"""

import hashlib
from typing import Literal

import msgspec

MAXIMUM_CONTENT_BYTES = 1024 * 1024
MAXIMUM_REPORTS = 1000
"""Of one call."""
MAXIMUM_PLACE = 2000
"""Characters of a URL in an alert."""


class LeakReport(msgspec.Struct, frozen=True):
    """One finding."""

    token: str
    type: str = ""
    url: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return f"LeakReport(type={self.type!r}, source={self.source!r})"


class LeakFeedback(msgspec.Struct, frozen=True):
    """Whether a finding is real."""

    token_hash: str
    token_type: str
    label: Literal["true_positive", "false_positive"]


def parse_reports(content: bytes) -> list[LeakReport]:
    """Return the findings of a call. Raise ValueError that says what is wrong, without any text of it."""
    try:
        reports = msgspec.json.decode(content, type=list[LeakReport])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("The content is no JSON array of findings with token, type, url and source.") from error
    if len(reports) > MAXIMUM_REPORTS:
        raise ValueError(f"The array has more than {MAXIMUM_REPORTS} findings.")
    return reports


def build_feedback(report: LeakReport, *, is_token: bool) -> LeakFeedback:
    """Return the answer about one finding, without its text."""
    hashed = hashlib.sha256(report.token.encode(errors="surrogatepass")).hexdigest()
    return LeakFeedback(hashed, report.type, "true_positive" if is_token else "false_positive")
