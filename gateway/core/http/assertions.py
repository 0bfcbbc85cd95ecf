"""Assertions of the gateway to a backend, signed: who asks, and for what (a JWT, RFC 7519, with EdDSA, RFC 8037).

Rule 1: an assertion is for one request: it has the request's id, its method, and its path as the backend gets it.
Rule 2: it is sent only if the policy's backend asks for one, and only about authenticated tokens.
Rule 3: a backend that asks for assertions gets no request of a token without one.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable

import msgspec

from gateway.core.admission.decision import Authorized, effective_scopes
from gateway.core.http.messages import Field, RequestHead
from gateway.core.tokens.text import token_id
from gateway.core.upstream.client_fields import ASSERTION_FIELD
from gateway.core.upstream.forwarding import rewrite_target

LIFETIME_SECONDS = 30
"""Seconds of validity. Backends check as a request arrives, so this must exceed transit times and clock differences."""
ALGORITHM = "EdDSA"
"""The algorithm, with Ed25519 (RFC 8037 3.1). RFC 9864 would call it Ed25519; verifiers know this name."""


class Issuer(msgspec.Struct, frozen=True):
    """The name in which assertions are made, and the function that signs them."""

    name: str
    sign: Callable[[bytes], bytes]
    """Turns the claims in JSON into a JWS in compact form (RFC 7515 3.1)."""


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """Registered names as RFC 7519, 8693 (scope) and 9449 (htm) have them; times in Unix seconds."""

    iss: str
    sub: str
    """The token's id."""
    iat: int
    exp: int
    jti: str
    """The request's id, as X-Request-Id has it."""
    htm: str
    path: str
    """The path as the backend gets it, before the path of its own URL: rewritten, percent-encoded, without a query."""
    policy: str
    aud: str = ""
    scope: str = ""
    """The effective scopes, separated by a space."""
    project: str = ""
    owner: str = ""


class PublicKey(msgspec.Struct, frozen=True):
    """A public key that verifies assertions: a JSON Web Key (RFC 7517, 8037 2)."""

    x: str
    """The key itself, base64url without padding."""
    kid: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = ALGORITHM
    use: str = "sig"


def build_claims(issuer: str, request: RequestHead, admission: Authorized, target: str) -> Claims | None:
    """Return the claims about a request for `target`, or None if it has no token or the backend wants no assertion."""
    policy, record = admission.rule.policy, admission.facts.record
    if policy.upstream.audience is None or record is None:
        return None
    now = int(request.received_at)
    return Claims(
        iss=issuer,
        sub=token_id(record.digest),
        iat=now,
        exp=now + LIFETIME_SECONDS,
        jti=request.id,
        htm=request.method,
        path=target.partition("?")[0],
        policy=policy.name,
        aud=policy.upstream.audience,
        scope=effective_scopes(admission.rule, admission.facts),
        project=record.project,
        owner=record.owner,
    )


def build_assertion(issuer: Issuer | None, request: RequestHead, admission: Authorized, target: str) -> list[Field]:
    """Return the assertion's field for a request whose `target` is rewritten already; empty if nothing is asserted.

    Raise ValueError if the policy wants assertions and there is no key to sign them with.
    """
    claims = build_claims(issuer.name if issuer else "", request, admission, target)
    if claims is None:
        return []
    if issuer is None:
        raise ValueError(f"{claims.policy} wants assertions, and there is no key to sign them with")
    return [(ASSERTION_FIELD, issuer.sign(msgspec.json.encode(claims)))]


def rewritten(admission: Authorized, target: str) -> str:
    """Return the target as the policy's backend gets it."""
    rewrite = admission.rule.policy.upstream.rewrite
    return target if rewrite is None else rewrite_target(target, rewrite)


def thumbprint(x: str, kty: str = "OKP", crv: str = "Ed25519") -> str:
    """Return the thumbprint that names a key (RFC 7638 3, RFC 8037 2): required members, sorted, without spaces."""
    text = f'{{"crv":"{crv}","kty":"{kty}","x":"{x}"}}'
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
