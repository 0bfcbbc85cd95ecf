"""A refusal explains itself to the bearer of a token that exists, and to nobody else."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.core.admission.decision import NO_RESTRICTIONS, AdmissionFacts, Refused, Restrictions, decide
from gateway.core.admission.outcomes import build_refused
from gateway.core.http.messages import Response, field_value
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import Rule
from gateway.core.tokens.owners import OwnerStanding
from gateway.core.tokens.records import TokenRecord
from tests.core.samples import NOW, RECORD, SHOP, facts_for, load, make_request

PLAIN = SHOP.partition("[errors]")[0].replace('"GET /items/{item}"', '"GET /items/{item}"\nproject = "{item}"')
"""Without an error format of the product's own; the path names a project."""


def find(text: str, method: str, *segments: str) -> Rule:
    rule = load(text).match("any.example", method, segments)
    assert rule is not None
    return rule


QUIET, TELLING = (
    find(PLAIN, "GET", "items", "website"),
    find("explain_refusals = true" + PLAIN, "GET", "items", "website"),
)
WRITE = find(PLAIN, "POST", "items")

STATES: list[tuple[dict[str, Any], bool, Reason, str]] = [
    ({}, True, Reason.REVOKED_TOKEN, "The token was revoked."),
    ({"is_active": False}, False, Reason.DISABLED_TOKEN, "The token is disabled."),
    ({"expires_at": NOW - 60}, False, Reason.EXPIRED_TOKEN, "The token expired on 2027-01-15T07:59:00Z."),
    (
        {"not_before": NOW + 60},
        False,
        Reason.NOT_YET_VALID_TOKEN,
        "The token is not valid before 2027-01-15T08:01:00Z.",
    ),
    (
        {"parent": "cd" * 12},
        False,
        Reason.PARENT_ENDED,
        f"The token is a child of the token {'cd' * 12}, which no longer works.",
    ),
]


def refuse(
    rule: Rule, record: TokenRecord | None = RECORD, restrictions: Restrictions = NO_RESTRICTIONS, **facts: Any
) -> tuple[Refused, Response]:
    found: AdmissionFacts = replace(facts_for(rule, record, project="website"), restrictions=restrictions)
    verdict = decide(replace(found, **facts))
    assert isinstance(verdict, Refused)
    return verdict, build_refused(make_request(), verdict)


def detail(response: Response) -> str:
    assert isinstance(response.content, bytes)
    told: str = json.loads(response.content)["detail"]
    return told


@pytest.mark.parametrize(("state", "is_revoked", "reason", "told"), STATES, ids=[state[2] for state in STATES])
def test_the_bearer_learns_the_state_of_a_token(
    state: dict[str, Any], is_revoked: bool, reason: Reason, told: str
) -> None:
    """Where the policy says so, content and challenge name the state; the error code stays invalid_token."""
    verdict, response = refuse(TELLING, replace(RECORD, **state), is_revoked=is_revoked)
    assert (reason, told) == (verdict.reason, detail(response))
    challenge = f'Bearer realm="shop", error="invalid_token", error_description="{told}"'.encode()
    assert challenge == field_value(response.head.fields, b"www-authenticate")
    assert isinstance(response.content, bytes)
    assert "invalid_token" == json.loads(response.content)["code"]


@pytest.mark.parametrize(("state", "is_revoked", "reason", "told"), STATES, ids=[state[2] for state in STATES])
def test_by_default_nobody_learns_it(state: dict[str, Any], is_revoked: bool, reason: Reason, told: str) -> None:
    """Without the key all of these are the answer to an unknown token, to the byte."""
    _, unknown = refuse(QUIET, None)
    _, response = refuse(QUIET, replace(RECORD, **state), is_revoked=is_revoked)
    assert unknown == replace(response, refused=Reason.UNKNOWN_TOKEN)
    assert told not in str(response)


@pytest.mark.parametrize("is_revoked", [False, True])
def test_a_guess_learns_nothing(is_revoked: bool) -> None:
    """A digest without a record gets the usual answer, even if its id is that of a revoked token."""
    _, expected = refuse(QUIET, None)
    _, response = refuse(TELLING, None, is_revoked=is_revoked)
    assert (expected.head, expected.content) == (response.head, response.content)


ACTIVE = OwnerStanding("active", "read write")


@pytest.mark.parametrize(
    ("rule", "record", "restrictions", "told"),
    [
        (
            WRITE,
            replace(RECORD, scopes="read"),
            NO_RESTRICTIONS,
            "The token lacks write; its owner acme or an administrator can grant it.",
        ),
        (
            WRITE,
            replace(RECORD, scopes="read", owner=""),
            NO_RESTRICTIONS,
            "The token lacks write; an administrator can grant it.",
        ),
        (
            WRITE,
            RECORD,
            Restrictions(OwnerStanding("active", "read")),
            "The owner acme lacks write; an administrator can grant it.",
        ),
        (
            WRITE,
            replace(RECORD, parent="cd" * 12),
            Restrictions(ACTIVE, replace(RECORD, scopes="read")),
            f"The parent {'cd' * 12} lacks write; its owner acme or an administrator can grant it.",
        ),
        (
            WRITE,
            replace(RECORD, plan="free"),
            NO_RESTRICTIONS,
            "The plan free does not include write; these do: pro, all. An administrator can change the plan.",
        ),
        (
            QUIET,
            RECORD,
            Restrictions(OwnerStanding("blocked", "read")),
            "The token's owner acme is blocked; an administrator can activate the owner.",
        ),
        (
            QUIET,
            replace(RECORD, project="shop"),
            NO_RESTRICTIONS,
            "The token is for the project shop only; its owner acme or an administrator can create one for another.",
        ),
        (
            QUIET,
            RECORD,
            Restrictions(OwnerStanding("active", None)),
            "The token's owner acme has no part in the project; an administrator can add the owner to it.",
        ),
    ],
)
def test_a_403_names_what_is_needed_and_who_can_grant_it(
    rule: Rule, record: TokenRecord, restrictions: Restrictions, told: str
) -> None:
    """It does so in every policy: whoami tells the same bearer as much."""
    _, response = refuse(rule, record, restrictions)
    assert (403, told) == (response.head.status, detail(response))


def test_a_challenge_has_only_characters_that_it_can_have() -> None:
    """An owner's name is any printable text; RFC 6750 3 allows neither quotes nor anything beyond ASCII."""
    _, response = refuse(WRITE, replace(RECORD, scopes="read", owner='Zoë "the\\boss"'))
    challenge = field_value(response.head.fields, b"www-authenticate") or b""
    assert b'"The token lacks write; its owner Zo? ?the?boss? or an administrator can grant it."' in challenge
    assert 'Zoë "the\\boss"' in detail(response)


@pytest.mark.parametrize("reason", [reason for _, _, reason, _ in STATES])
def test_a_token_that_proves_nothing_is_authenticated_by_nobody(reason: Reason) -> None:
    """The record is for the explanation alone: there are no facts, so no quota and no usage is told of it."""
    state, is_revoked = next((state, is_revoked) for state, is_revoked, other, _ in STATES if other is reason)
    verdict, _ = refuse(TELLING, replace(RECORD, **state), is_revoked=is_revoked)
    assert verdict.facts is None
