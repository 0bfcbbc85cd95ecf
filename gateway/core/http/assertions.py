"""What the gateway asserts to a backend, signed: who asks, and for what (a JWT, RFC 7519, with EdDSA, RFC 8037).

Rule 1: an assertion is for one request: its id is in it, its method, and its path as the backend gets it.
Rule 2: it is told where the policy's backend asks for one, and of authenticated tokens only. Of nobody nothing is said.
Rule 3: a backend that is to get one gets no request without it.
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
"""Backends look when a request comes in, so it has to outlast the way there and clocks that differ."""
ALGORITHM = "EdDSA"
"""With Ed25519 (RFC 8037 3.1). RFC 9864 would have it called Ed25519; verifiers know this name."""


class Issuer(msgspec.Struct, frozen=True):
    """In whose name assertions are made, and how they are signed."""

    name: str
    sign: Callable[[bytes], bytes]
    """The claims in JSON to a JWS in its compact form (RFC 7515 3.1)."""


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
    """Of the request as the backend gets it, before the path of its own URL: rewritten, percent-encoded, no query."""
    policy: str
    aud: str = ""
    scope: str = ""
    """The effective scopes, separated by a space."""
    project: str = ""
    owner: str = ""


class PublicKey(msgspec.Struct, frozen=True):
    """What verifies assertions: a JSON Web Key (RFC 7517, 8037 2)."""

    x: str
    """The key itself, base64url without padding."""
    kid: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = ALGORITHM
    use: str = "sig"


def build_claims(issuer: str, request: RequestHead, admission: Authorized, target: str) -> Claims | None:
    """What is asserted of a request for `target`; None where nobody asks, or the backend wants no assertion."""
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
    """The field line for a request whose `target` is not rewritten any more; none where nothing is to be asserted."""
    claims = build_claims(issuer.name if issuer else "", request, admission, target)
    if claims is None:
        return []
    if issuer is None:
        raise ValueError(f"{claims.policy} wants assertions, and there is no key to sign them with")
    return [(ASSERTION_FIELD, issuer.sign(msgspec.json.encode(claims)))]


def rewritten(admission: Authorized, target: str) -> str:
    """The target as the policy's backend gets it."""
    rewrite = admission.rule.policy.upstream.rewrite
    return target if rewrite is None else rewrite_target(target, rewrite)


def thumbprint(x: str, kty: str = "OKP", crv: str = "Ed25519") -> str:
    """The name of a key by what it is (RFC 7638 3, RFC 8037 2): required members, sorted, nothing between them."""
    text = f'{{"crv":"{crv}","kty":"{kty}","x":"{x}"}}'
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
