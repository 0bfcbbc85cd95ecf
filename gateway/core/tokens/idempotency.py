"""Calls that are made once, however often they are sent (draft-ietf-httpapi-idempotency-key-header).

Rule 1: a key belongs to its actor and to what was asked for: the same key for something else is refused.
Rule 2: the text of a token is not kept, so a repeated creation cannot answer what the first one did. It is refused with
the id of the token that there is: who has lost the answer rotates that one. Deriving the text from the key was not
chosen: the key stands in logs, and would then be worth the token.
"""

import hashlib
from typing import Literal

import msgspec

from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest

KEPT_SECONDS = 86400
"""How long a key is remembered."""
GRACE_SECONDS = 60
"""How long a creation may take: after it, a key that has made nothing is free again."""


class KeyClaim(msgspec.Struct, frozen=True):
    """Whose a key is."""

    state: Literal["ours", "theirs", "pending", "mismatch"]
    """Ours now; made a token already; is making one; was for something else."""
    identity: str = ""
    """Of the token that was made."""


def key_digest(actor: Actor, key: str) -> str:
    """The name of an actor's key."""
    parts = (actor.kind, actor.token or actor.name, key)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def fingerprint(policy: str, request: TokenRequest) -> str:
    """What is asked for, short."""
    return hashlib.sha256(msgspec.json.encode((policy, request))).hexdigest()[:32]
