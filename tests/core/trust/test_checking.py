"""What is wrong with an ID token, claim by claim."""

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.core.trust.checking import (
    MAXIMUM_AGE_SECONDS,
    NO_TRUST,
    SKEW_SECONDS,
    find_mistake,
    find_time_mistake,
    nearest,
    remembered_until,
)
from gateway.core.trust.model import LINEAGES, NAMES, Trust, compile_pattern

NOW = 1_800_000_000
TRUST = Trust(
    issuer="https://issuer.example",
    audiences=frozenset({"https://api.example.com"}),
    patterns=(
        ("repository", (compile_pattern("acme/*"),)),
        ("ref", (compile_pattern("refs/heads/main"), compile_pattern("refs/tags/*"))),
    ),
    scopes=("read",),
    plan=None,
    project="website",
    owner="",
    names=NAMES,
    lineages=LINEAGES,
    lifetime_seconds=600,
)
CLAIMS: dict[str, Any] = {
    "iss": "https://issuer.example",
    "aud": "https://api.example.com",
    "sub": "repo:acme/website:ref:refs/heads/main",
    "repository": "acme/website",
    "ref": "refs/heads/main",
    "iat": NOW - 10,
    "nbf": NOW - 10,
    "exp": NOW + 290,
}


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({}, None),
        ({"exp": NOW - SKEW_SECONDS + 1}, None),
        ({"exp": NOW - SKEW_SECONDS}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": float("nan")}, "exp"),
        ({"exp": 10**400}, "exp"),
        ({"exp": -1}, "exp"),
        ({"iat": None}, "iat"),
        ({"iat": NOW + SKEW_SECONDS}, None),
        ({"iat": NOW + SKEW_SECONDS + 1}, "iat"),
        ({"iat": NOW - MAXIMUM_AGE_SECONDS}, None),
        ({"iat": NOW - MAXIMUM_AGE_SECONDS - 1}, "iat"),
        ({"nbf": NOW + SKEW_SECONDS + 1}, "nbf"),
        ({"nbf": None}, None),
    ],
)
def test_the_times_of_an_id_token(changes: dict[str, Any], claim: str | None) -> None:
    """exp and iat have to be there; the clocks may be a minute apart; no ID token is older than a day."""
    mistake = find_time_mistake({**CLAIMS, **changes}, NOW)
    assert claim == (mistake.claim if mistake else None)


@pytest.mark.parametrize(
    ("changes", "claim", "told"),
    [
        ({}, None, ""),
        ({"aud": ["other", "https://api.example.com"]}, None, ""),
        ({"ref": "refs/tags/v1"}, None, ""),
        ({"aud": "https://api.example.com.evil"}, "aud", "The ID token is for another audience (aud)."),
        ({"aud": []}, "aud", "The ID token is for another audience (aud)."),
        ({"aud": None}, "aud", "The ID token is for another audience (aud)."),
        ({"repository": "evil/website"}, "repository", NO_TRUST),
        ({"repository": None}, "repository", NO_TRUST),
        ({"ref": "refs/heads/feature"}, "ref", NO_TRUST),
        ({"ref": {"refs/heads/main": 1}}, "ref", NO_TRUST),
        ({"ref": ["x", "refs/heads/main"]}, None, ""),
    ],
)
def test_the_first_claim_that_does_not_match_is_named(changes: dict[str, Any], claim: str | None, told: str) -> None:
    """The log names it with its value; the client learns only that nobody trusts it, or that it is for another."""
    mistake = find_mistake(TRUST, {**CLAIMS, **changes})
    assert claim == (mistake.claim if mistake else None)
    if mistake is not None:
        assert told == mistake.told
        assert mistake.claim == "aud" or "acme" not in mistake.told


def test_claims_that_a_template_needs_have_to_be_there() -> None:
    """A project that is taken of a claim is never empty by accident."""
    trust = replace(TRUST, project="{head_ref}")
    for claims in (CLAIMS, {**CLAIMS, "head_ref": ""}, {**CLAIMS, "head_ref": None}):  # GitHub's is empty after a push
        mistake = find_mistake(trust, claims)
        assert mistake is not None and "project" == mistake.claim
    assert find_mistake(trust, {**CLAIMS, "head_ref": "main"}) is None


def test_the_client_learns_of_the_audience_only_if_nothing_else_is_wrong_elsewhere() -> None:
    """Of several trusts the one that came nearest counts."""
    audience = find_mistake(replace(TRUST, audiences=frozenset({"x"})), CLAIMS)
    claims = find_mistake(TRUST, {**CLAIMS, "ref": "x"})
    assert audience and claims
    assert NO_TRUST == nearest([audience, claims])
    assert "The ID token is for another audience (aud)." == nearest([audience])
    assert NO_TRUST == nearest([])


def test_an_id_token_is_remembered_as_long_as_it_could_be_used() -> None:
    """Until it has expired by the slowest clock, and for a day at most."""
    assert NOW + 290 + SKEW_SECONDS < remembered_until(CLAIMS)
    last = remembered_until({**CLAIMS, "exp": NOW * 2})
    assert find_time_mistake({**CLAIMS, "exp": NOW * 2}, last) is not None
    assert find_time_mistake(CLAIMS, remembered_until(CLAIMS)) is not None


def test_a_value_in_a_log_is_short() -> None:
    """A job chooses the values of its claims, so no line of the log grows with them."""
    mistake = find_mistake(TRUST, {**CLAIMS, "ref": "x" * 5000})
    assert mistake is not None and 200 == len(mistake.value)
