"""Tokens of the management API: their own pseudo-policy, in the same store, under the same digests.

No policy file can have its name, which is empty, and every rule takes tokens of its own policy only: an admin token is
never valid on proxied traffic. The management API takes tokens of this policy only: no other token is valid there.

Rule: they are created and changed at the command line. An admin token can revoke any other, and rotate itself without
changes: so a leaked one creates no others, and revoking its lineage ends the leak.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.errors import NotGrantable
from gateway.core.policies.guarded import build_rule, require
from gateway.core.policies.matching import parse_pattern
from gateway.core.policies.model import CredentialSource, Plan, Policy, Rule, Scheme, Upstream
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.scopes import Scope, granting
from gateway.core.tokens.text import ADMIN_FORMAT

NAME = ""
OWNER = "gateway"
"""The owner of all admin tokens: they are listed by it."""
READ, WRITE, INTROSPECT = "read", "write", "introspect"
_PATTERN = parse_pattern("* /api/v1/**")

SCOPES: Mapping[str, Scope] = {
    READ: Scope("See tokens, owners, histories and usage"),
    WRITE: Scope("Create, change and end them", (READ,)),
    INTROSPECT: Scope("Ask about a token that was presented (RFC 7662)"),
}

ADMIN = Policy(
    name=NAME,
    hosts=(),
    upstream=Upstream(()),
    token_format=ADMIN_FORMAT,
    credentials=(CredentialSource(b"authorization", Scheme.BEARER),),
    bound_to="owner",
    parent_scope="",
    sign_in_scope="",
    has_known_owners=False,
    scopes=SCOPES,
    scope_names={name: name for name in SCOPES},
    scope_grants=granting(SCOPES),
    bundles={},
    plans={"": Plan(None, ())},
    last_used_resolution_seconds=60,
    errors={},
    rule_count=0,
    test_count=0,
)


def admin_rule(*scopes: str) -> Rule:
    """Return the rule for a call of the management API; it costs nothing."""
    return require(build_rule(ADMIN, _PATTERN, cost=0), scopes)


RULES: Mapping[str, Rule] = {scope: admin_rule(scope) for scope in SCOPES}
"""The rule for each scope of an admin token, in the management API and on the pages alike."""


def is_admin(record: TokenRecord) -> bool:
    """Return whether the token is one of the management API."""
    return record.policy == NAME


def check_maker(actor: Actor, policy: str, rotated: str = "") -> None:
    """Raise NotGrantable if an admin token is created or changed with another, or with itself except by rotation."""
    if policy == NAME and actor.token and actor.token != rotated:
        raise NotGrantable("admin tokens are made and changed at the command line")


def bind_admin(policy: Policy, request: TokenRequest) -> TokenRequest:
    """Return the request of a new token; an admin token gets the owner that all admin tokens have."""
    return msgspec.structs.replace(request, owner=OWNER, project="") if policy is ADMIN else request
