"""The authenticator: what a request presents becomes a digest or a refusal, and what may be a guess is counted."""

import pytest

from gateway.adapters.failed_credentials import FailedCredentials
from gateway.core.admission.decision import Refused
from gateway.core.http.messages import RequestHead
from gateway.core.http.reasons import Reason
from gateway.core.tokens.text import digest
from gateway.pipeline.authenticator import Authenticator
from tests.support.exchange_harness import OTHER, TEXT
from tests.support.policies import rule_for

RULE = rule_for("GET /export")


def present(*texts: str, client: str = "192.0.2.1") -> RequestHead:
    """A request with a credential for each text."""
    fields = [(b"authorization", f"Bearer {text}".encode()) for text in texts]
    return RequestHead(
        method="GET",
        path="/export",
        query="",
        fields=fields,
        scheme="http",
        client=client,
        forwarded_for=client,
        id="build-42",
        host="small.example",
        authority="small.example",
        received_at=0.0,
    )


def test_a_token_becomes_its_digest() -> None:
    """Under the pepper, and the same whether the request is new or was authenticated before."""
    authenticator = Authenticator(FailedCredentials("1/hour"), b"pepper")
    assert digest(TEXT, b"pepper") == authenticator.authenticate(present(TEXT), RULE)
    assert digest(TEXT, b"pepper") == authenticator.read_digest(present(TEXT), RULE.policy)
    assert digest(TEXT, b"") != digest(TEXT, b"pepper")


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ((), Reason.MISSING_CREDENTIALS),
        (("sml_x",), Reason.MALFORMED_CREDENTIALS),
        ((TEXT, OTHER), Reason.AMBIGUOUS_CREDENTIALS),
    ],
)
def test_what_is_no_token_is_refused(texts: tuple[str, ...], reason: Reason) -> None:
    """With its reason and its rule, also where there is no guard."""
    authenticator = Authenticator(None, b"")
    assert Refused(reason, RULE) == authenticator.authenticate(present(*texts), RULE)
    assert reason is authenticator.read_digest(present(*texts), RULE.policy)


def test_only_a_guess_is_counted() -> None:
    """A malformed or an unknown token is one. A missing credential, a token that is over and a second look are none."""
    authenticator = Authenticator(FailedCredentials("1/hour"), b"")
    authenticator.authenticate(present(), RULE)
    authenticator.authenticate(present(TEXT, OTHER), RULE)
    authenticator.refuse(present(TEXT), Refused(Reason.REVOKED_TOKEN, RULE))
    authenticator.read_digest(present("sml_x"), RULE.policy)
    assert digest(TEXT, b"") == authenticator.authenticate(present(TEXT), RULE)
    authenticator.refuse(present(TEXT), Refused(Reason.UNKNOWN_TOKEN, RULE))
    blocked = authenticator.authenticate(present(TEXT), RULE)
    assert isinstance(blocked, Refused)
    assert Reason.TOO_MANY_FAILURES is blocked.reason
    assert 0 < (blocked.retry_after or 0) <= 3600
    assert digest(TEXT, b"") == authenticator.authenticate(present(TEXT, client="192.0.2.2"), RULE)
    assert digest(TEXT, b"") == authenticator.read_digest(present(TEXT), RULE.policy)
