"""Calls that take effect once, however often they are sent (draft-ietf-httpapi-idempotency-key-header).

Rule 1: a key belongs to its actor and to one request: the same key for another request is refused.
Rule 2: the text of a token is not kept, so a repeated creation cannot give the first answer again. It is refused with
the id of the existing token; a client that has lost the answer rotates that token. The text is not derived from the
key, because keys appear in logs, and would then be worth the token.
"""

import hashlib
from typing import Literal

import msgspec

from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest

KEPT_SECONDS = 86400
"""How long a key is remembered."""
GRACE_SECONDS = 60
"""How long a creation may take: after it, a key that has created nothing is free again."""


class KeyClaim(msgspec.Struct, frozen=True):
    """The state of a key."""

    state: Literal["ours", "theirs", "pending", "mismatch"]
    """It is ours now; it created a token already; it is creating one; it was for another request."""
    identity: str = ""
    """The id of the token that was created."""


def key_digest(actor: Actor, key: str) -> str:
    """Return the name under which an actor's key is stored."""
    parts = (actor.kind, actor.token or actor.name, key)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def fingerprint(policy: str, request: TokenRequest) -> str:
    """Return a short digest of a request."""
    return hashlib.sha256(msgspec.json.encode((policy, request))).hexdigest()[:32]
