"""What is asserted of a request, and of which."""

import json

import msgspec
import pytest
from msgspec.structs import replace

from gateway.core.admission.decision import Authorized
from gateway.core.http.assertions import Issuer, build_assertion, build_claims, rewritten, thumbprint
from gateway.core.policies.model import Rewrite
from gateway.core.tokens.records import TokenRecord
from tests.core.samples import NOW, RECORD, facts_for, find_rule, make_request


def admit(record: TokenRecord | None = RECORD, audience: str | None = "") -> Authorized:
    rule = find_rule("GET", "items", "1")
    upstream = replace(rule.policy.upstream, audience=audience)
    bound = replace(rule, policy=replace(rule.policy, upstream=upstream))
    return Authorized(bound, facts_for(bound, record))


def test_an_assertion_is_of_one_request_and_one_token() -> None:
    """All that a backend needs to know whom it serves, and that it was asked for this."""
    issuer = Issuer("edge", lambda claims: b"signed:" + claims)
    ((name, value),) = build_assertion(issuer, make_request(), admit(audience="shop"), "/items/%62?secret=1")
    assert b"x-gateway-assertion" == name
    assert b"signed:" == value[:7]
    assert {
        "iss": "edge",
        "sub": "ab" * 12,
        "aud": "shop",
        "iat": NOW,
        "exp": NOW + 30,
        "jti": "request-1",
        "htm": "GET",
        "path": "/items/%62",
        "policy": "shop",
        "scope": "read write",
        "project": "website",
        "owner": "acme",
    } == json.loads(value[7:])


def test_what_there_is_not_is_not_asserted() -> None:
    """Without an audience, a project, an owner there is no such claim."""
    claims = build_claims("edge", make_request(), admit(replace(RECORD, project="", owner="")), "/")
    assert claims is not None
    assert {"aud", "project", "owner"}.isdisjoint(json.loads(msgspec.json.encode(claims)))


@pytest.mark.parametrize("admission", [admit(None), admit(audience=None)], ids=["nobody", "not wanted"])
def test_nothing_is_asserted_of_nobody_nor_unasked(admission: Authorized) -> None:
    """A public rule's request, and a backend that wants no assertion, get none."""
    issuer = Issuer("edge", lambda _: pytest.fail("nothing is to be signed"))
    assert [] == build_assertion(issuer, make_request(), admission, "/")


def test_without_a_key_a_backend_that_wants_assertions_gets_no_request() -> None:
    """It is a mistake of the gateway's, never a request without an assertion."""
    with pytest.raises(ValueError, match="shop wants assertions"):
        build_assertion(None, make_request(), admit(), "/")
    assert [] == build_assertion(None, make_request(), admit(audience=None), "/")


def test_the_path_is_what_the_backend_gets() -> None:
    """A rewritten one, where the policy rewrites."""
    admission = admit()
    policy = admission.rule.policy
    upstream = replace(policy.upstream, rewrite=Rewrite(("items",), "/v2"))
    rule = replace(admission.rule, policy=replace(policy, upstream=upstream))
    assert "/v2/1?a=b" == rewritten(replace(admission, rule=rule), "/items/1?a=b")
    assert "/items/1?a=b" == rewritten(admission, "/items/1?a=b")


def test_a_key_is_named_as_the_rfc_names_it() -> None:
    """The example of RFC 8037 A.3."""
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" == thumbprint(x)
