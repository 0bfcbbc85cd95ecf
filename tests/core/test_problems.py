"""Each reason has one status, one challenge and one content."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.core.http.messages import Response, field_value, field_values
from gateway.core.http.problems import PROBLEMS, build_refusal, code_of
from gateway.core.http.reasons import Reason
from gateway.core.variants.model import OptionMistake
from tests.core.samples import load_shop

POLICY = load_shop()
BEARER_ONLY = replace(POLICY, credentials=POLICY.credentials[:1])

STATUSES = {
    Reason.MALFORMED_REQUEST: 400,
    Reason.UNKNOWN_VERSION: 505,
    Reason.HEAD_TOO_LARGE: 431,
    Reason.REQUEST_TIMEOUT: 408,
    Reason.MALFORMED_TARGET: 400,
    Reason.TARGET_TOO_LONG: 414,
    Reason.CLIENT_GONE: 499,
    Reason.STOPPED: 503,
    Reason.UNSUPPORTED: 501,
    Reason.OVERLOADED: 503,
    Reason.MISSING_ORIGINAL: 400,
    Reason.UNTRUSTED_PROXY: 403,
    Reason.EXCHANGE_REFUSED: 400,
    Reason.NO_MATCHING_RULE: 404,
    Reason.MISSING_CREDENTIALS: 401,
    Reason.MALFORMED_CREDENTIALS: 401,
    Reason.AMBIGUOUS_CREDENTIALS: 400,
    Reason.TOO_MANY_FAILURES: 429,
    Reason.UNKNOWN_TOKEN: 401,
    Reason.REVOKED_TOKEN: 401,
    Reason.DISABLED_TOKEN: 401,
    Reason.NOT_YET_VALID_TOKEN: 401,
    Reason.EXPIRED_TOKEN: 401,
    Reason.PARENT_ENDED: 401,
    Reason.OWNER_BLOCKED: 403,
    Reason.OTHER_PROJECT: 403,
    Reason.INSUFFICIENT_SCOPE: 403,
    Reason.INSUFFICIENT_PLAN: 403,
    Reason.INVALID_OPTION: 400,
    Reason.PRECONDITION_FAILED: 412,
    Reason.QUOTA_EXCEEDED: 429,
    Reason.STORE_UNAVAILABLE: 503,
    Reason.NOT_STORED: 504,
    Reason.UPSTREAM_UNREACHABLE: 502,
    Reason.UPSTREAM_BUSY: 503,
    Reason.UPSTREAM_TIMEOUT: 504,
    Reason.UPSTREAM_BROKEN: 502,
    Reason.LOOP_DETECTED: 508,
    Reason.BROKEN_DOCUMENT: 502,
    Reason.INTERNAL_ERROR: 500,
}
TOKEN_REASONS = [
    Reason.MALFORMED_CREDENTIALS,
    Reason.UNKNOWN_TOKEN,
    Reason.REVOKED_TOKEN,
    Reason.PARENT_ENDED,
    Reason.DISABLED_TOKEN,
    Reason.NOT_YET_VALID_TOKEN,
    Reason.EXPIRED_TOKEN,
]


def content_of(response: Response) -> Any:
    assert isinstance(response.content, bytes)
    return json.loads(response.content)


def challenges(reason: Reason, *required: str) -> list[bytes]:
    response = build_refusal(reason, BEARER_ONLY, "1", required_scopes=required)
    return field_values(response.head.fields, b"www-authenticate")


def test_every_reason_has_a_problem() -> None:
    """No reason is without an answer."""
    assert set(Reason) == set(PROBLEMS)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_status(reason: Reason) -> None:
    """The status of each reason is the documented one, also in the content."""
    response = build_refusal(reason, None, "1")
    assert STATUSES[reason] == response.head.status
    assert STATUSES[reason] == content_of(response)["status"]


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("policy", [None, POLICY])
def test_no_refusal_is_stored_and_each_is_framed(reason: Reason, policy: Any) -> None:
    """Every refusal says no-store, its content's type, and its content's length."""
    response = build_refusal(reason, policy, "1")
    assert isinstance(response.content, bytes)
    fields = response.head.fields
    assert [b"no-store"] == field_values(fields, b"cache-control")
    assert [b"%d" % len(response.content)] == field_values(fields, b"content-length")
    assert 1 == len(field_values(fields, b"content-type"))


@pytest.mark.parametrize("reason", [reason for reason, status in STATUSES.items() if status == 401])
def test_every_401_has_a_challenge(reason: Reason) -> None:
    """A 401 without a challenge would break RFC 9110 11.6.1."""
    assert 1 == len(challenges(reason))


@pytest.mark.parametrize(
    "reason", [reason for reason, status in STATUSES.items() if status in (404, 429, 500, 502, 503)]
)
def test_other_refusals_have_none(reason: Reason) -> None:
    """Where no other credential would help, none is asked for."""
    assert [] == challenges(reason, "read")


def test_a_missing_credential_has_no_error_code() -> None:
    """Who presented nothing is told only where it is (RFC 6750 3.1)."""
    assert [b'Bearer realm="shop"'] == challenges(Reason.MISSING_CREDENTIALS, "read")


@pytest.mark.parametrize("reason", TOKEN_REASONS)
def test_a_client_cannot_tell_token_reasons_apart(reason: Reason) -> None:
    """Unknown, revoked, disabled, expired and malformed tokens get the very same answer."""
    unknown, other = build_refusal(Reason.UNKNOWN_TOKEN, POLICY, "1"), build_refusal(reason, POLICY, "1")
    assert unknown.head == other.head
    assert unknown.content == other.content
    assert "invalid_token" == code_of(reason)
    assert [b'Bearer realm="shop", error="invalid_token", error_description="The token is not valid."'] == challenges(
        reason, "read"
    )


def test_two_credentials_are_an_invalid_request() -> None:
    """Ambiguous credentials have the error code of RFC 6750 3.1 for them."""
    expected = (
        b'Bearer realm="shop", error="invalid_request", '
        b'error_description="The request has more than one credential; send one."'
    )
    assert [expected] == challenges(Reason.AMBIGUOUS_CREDENTIALS)


def test_a_lacking_scope_is_named() -> None:
    """Who lacks a scope is told which are needed, in challenge and content."""
    expected = (
        b'Bearer realm="shop", error="insufficient_scope", error_description="The token may not do this.", '
        b'scope="read write"'
    )
    assert [expected] == challenges(Reason.INSUFFICIENT_SCOPE, "read", "write")
    response = build_refusal(Reason.INSUFFICIENT_SCOPE, POLICY, "1", required_scopes=("read", "write"))
    assert ["read", "write"] == content_of(response)["required_scopes"]


def test_a_field_of_its_own_has_a_challenge_of_its_own() -> None:
    """A policy that takes its token in another field says so beside the Bearer challenge."""
    fields = build_refusal(Reason.MISSING_CREDENTIALS, POLICY, "1").head.fields
    expected = [b'Bearer realm="shop"', b'ApiKey realm="shop", header="x-api-key"']
    assert expected == field_values(fields, b"www-authenticate")


def test_nobody_is_asked_for_what_is_not_taken() -> None:
    """Where a token goes into a field of its own, there is no Bearer challenge, and the error is said in the other."""
    policy = replace(POLICY, credentials=POLICY.credentials[1:])
    fields = build_refusal(Reason.UNKNOWN_TOKEN, policy, "1").head.fields
    expected = b'ApiKey realm="shop", header="x-api-key", error="invalid_token", error_description='
    assert [expected + b'"The token is not valid."'] == field_values(fields, b"www-authenticate")


def test_a_quota_tells_when_to_come_back() -> None:
    """A 429 has Retry-After and names the quotas that were exceeded, as the draft on rate limits has it."""
    response = build_refusal(
        Reason.QUOTA_EXCEEDED, POLICY, "request-1", retry_after=17, violated_policies=("minute", "day")
    )
    expected = {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Quota Exceeded",
        "status": 429,
        "detail": "The quota is exceeded; retry later.",
        "code": "quota_exceeded",
        "violated-policies": ["minute", "day"],
        "request_id": "request-1",
    }
    assert expected == content_of(response)
    assert b"17" == field_value(response.head.fields, b"retry-after")
    assert b"application/problem+json" == field_value(response.head.fields, b"content-type")


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        (Reason.INSUFFICIENT_PLAN, b'{"error":"upgrade"}'),
        (Reason.NO_MATCHING_RULE, b'{"error":"nothing here"}'),
    ],
)
def test_a_policy_answers_in_its_own_error_format(reason: Reason, content: bytes) -> None:
    """Content that the policy has for a reason or its status replaces problem details; fields stay."""
    response = build_refusal(reason, POLICY, "1", required_scopes=("write",))
    assert content == response.content
    assert STATUSES[reason] == response.head.status
    assert b"application/json" == field_value(response.head.fields, b"content-type")


def test_a_reason_goes_before_its_status() -> None:
    """Where the error format has both, the reason's own content is sent."""
    policy = replace(POLICY, errors={"insufficient_plan": b"1", "403": b"2"})
    found = [
        build_refusal(reason, policy, "1").content for reason in (Reason.INSUFFICIENT_PLAN, Reason.INSUFFICIENT_SCOPE)
    ]
    assert [b"1", b"2"] == found


MISTAKE = OptionMistake("format", 'The option format must be one of json, "csv".', ("json", "csv"))


def test_a_wrong_option_is_told_with_what_is_allowed() -> None:
    """K7: problem details have each option with its message and the values that it may have."""
    response = build_refusal(Reason.INVALID_OPTION, POLICY, "1", detail=MISTAKE.message, mistakes=(MISTAKE,))
    content = content_of(response)
    assert 400 == content["status"]
    assert "invalid_option" == content["code"]
    assert MISTAKE.message == content["detail"]
    assert [{"option": "format", "message": MISTAKE.message, "allowed": ["json", "csv"]}] == content["errors"]


@pytest.mark.parametrize(
    ("error_format", "expected"),
    [
        (b'{"error":"{detail}"}', {"error": MISTAKE.message}),
        (b'{"code":1,"m":["{detail}!"]}', {"code": 1, "m": [MISTAKE.message + "!"]}),
        (
            b'{"error":"Bad request"}',
            {
                "error": "Bad request",
                "errors": [{"option": "format", "message": MISTAKE.message, "allowed": ["json", "csv"]}],
            },
        ),
    ],
)
def test_a_wrong_option_is_told_in_every_error_format(error_format: bytes, expected: object) -> None:
    """K7: where the policy's content has {detail} it is the message; where not, the list is a member of its own."""
    policy = replace(POLICY, errors={"400": error_format})
    response = build_refusal(Reason.INVALID_OPTION, policy, "1", detail=MISTAKE.message, mistakes=(MISTAKE,))
    assert expected == content_of(response)


def test_a_detail_is_what_there_is_to_say() -> None:
    """A broken document is told with its place; without a detail of its own, a reason has one for all occurrences."""
    policy = replace(POLICY, errors={"broken_document": b'{"error":"{detail}"}'})
    found = build_refusal(Reason.BROKEN_DOCUMENT, policy, "1", detail="$.entries[0].id: Expected `str`")
    assert {"error": "$.entries[0].id: Expected `str`"} == content_of(found)
    assert {"error": PROBLEMS[Reason.BROKEN_DOCUMENT].detail} == content_of(
        build_refusal(Reason.BROKEN_DOCUMENT, policy, "1")
    )


def test_before_a_policy_is_known_problem_details_are_sent() -> None:
    """A refusal outside any policy has no error format and no realm."""
    response = build_refusal(Reason.NO_MATCHING_RULE, None, "1")
    assert "about:blank" == content_of(response)["type"]
    assert [] == field_values(response.head.fields, b"www-authenticate")
