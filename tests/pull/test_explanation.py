"""Refusals in a sentence."""

from pathlib import Path

import msgspec
import pytest

from gateway.pull.explanation import NOBODY, Identity, Quota, clean, explain
from gateway.pull.model import Export
from gateway.pull.transport import Head

EXPORT = Export("https://api.example.com/export", Path("e.json"), "SHOP_TOKEN", "Authorization")
IDENTITY = Identity("7f00", "CI", "ada", "website", "", ["read"], [Quota("minute", 60, 60, 0, 34)])


def problem(status: int, *fields: tuple[str, str], **members: object) -> tuple[Head, bytes]:
    content = msgspec.json.encode({"title": "T", "status": status, **members})
    return Head(status, [("content-type", "application/problem+json"), *fields]), content


@pytest.mark.parametrize(
    ("answer", "identity", "sentence"),
    [
        (
            problem(401, detail="The token is not valid."),
            NOBODY,
            "401: the gateway does not accept the token of SHOP_TOKEN (The token is not valid). It may have expired or "
            "been revoked: create a new one on the developer page, and store it in the secret SHOP_TOKEN of your CI "
            "system.",
        ),
        (
            problem(403, code="insufficient_scope", required_scopes=["export", "read"]),
            IDENTITY,
            '403: the token "CI" (7f00) of SHOP_TOKEN needs the scope export, read and has read. Ask whoever manages '
            "the project or ada, who owns the token, for a token with that scope.",
        ),
        (
            problem(403, detail="The token is not for this project."),
            IDENTITY,
            '403: the token "CI" (7f00) of SHOP_TOKEN may not read this export (The token is not for this project). It '
            "belongs to the project website. Ask whoever manages the project or ada, who owns the token, for access.",
        ),
        (
            problem(429, ("retry-after", "34"), **{"violated-policies": ["minute"]}),
            IDENTITY,
            '429: the token "CI" (7f00) has used up its limit: the quota "minute" allows 60 in 60 s, 0 are left. Run '
            "the job again in 34 s, or pull less often.",
        ),
        (
            problem(400, errors=[{"name": "format", "message": "format: `yml` is not offered; allowed: json, csv"}]),
            NOBODY,
            "400: the URL asks for what is not offered: format: `yml` is not offered; allowed: json, csv. Copy the URL "
            "from the developer page.",
        ),
        (
            (Head(401, [("www-authenticate", 'Bearer error="invalid_token", error_description="Over."')]), b"<html>"),
            NOBODY,
            "401: the gateway does not accept the token of SHOP_TOKEN (Over). It may have expired or been revoked: "
            "create a new one on the developer page, and store it in the secret SHOP_TOKEN of your CI system.",
        ),
        (
            (Head(302, [("location", "https://login.example.com/")]), b""),
            NOBODY,
            "302: the server redirects to https://login.example.com/. The token is not sent there; use that URL if you "
            "trust it.",
        ),
    ],
)
def test_a_sentence_says_what_happened_and_what_to_do(
    answer: tuple[Head, bytes], identity: Identity, sentence: str
) -> None:
    """From the problem details, the challenge and whoami."""
    assert sentence == explain(EXPORT, *answer, identity)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"required_scopes": 5}', b"\xff", b'"' + b"x" * 100_000])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500])
def test_whatever_a_server_answers_there_is_a_sentence(status: int, content: bytes) -> None:
    """Also content that is no problem details, though it says so."""
    said = explain(EXPORT, Head(status, [("content-type", "application/problem+json")]), content, NOBODY)
    assert said.startswith(f"{status}: ")
    assert said.endswith(".")


def test_a_server_cannot_write_into_the_log() -> None:
    """Line breaks would begin a command of GitHub's log, escapes one of a terminal."""
    assert "a ::set-env name=x::y [2J" == clean("a\r\n::set-env name=x::y\x1b[2J")
    assert 300 == len(clean("x" * 1000))
