"""Who a token is: the answer of whoami, one of the gateway's own addresses, to the bearer of the token.

The question has a rule that no policy file contains: it needs nothing but a valid token, and costs nothing. So the
checks are those of every request (core/admission/decision.py), over facts that were read without a trace.
"""

import msgspec

from gateway.core.admission.decision import Authorized, effective_scopes
from gateway.core.http.fields import build_timestamp
from gateway.core.http.messages import RequestHead
from gateway.core.http.reasons import Reason
from gateway.core.own_addresses import DEFAULT, WHOAMI
from gateway.core.policies.guarded import build_rule
from gateway.core.policies.matching import parse_pattern
from gateway.core.policies.model import Policy, PolicySet, Rule, policies_of
from gateway.core.tokens.credentials import find_credential
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import token_id

_PATTERN = parse_pattern(f"GET {DEFAULT.path(WHOAMI)}")
"""The pattern under which logs name the question, wherever it is asked."""


class QuotaState(msgspec.Struct, frozen=True):
    """The state of one quota: what the RateLimit fields say, as JSON."""

    name: str
    limit: int
    window_seconds: int
    remaining: int
    reset_seconds: int


class Identity(msgspec.Struct, frozen=True):
    """The answer. Missing texts are empty; times are RFC 3339, or None."""

    id: str
    name: str
    policy: str
    plan: str
    project: str
    owner: str
    scopes: list[str]
    """The effective scopes: the backend gets the same."""
    expires_at: str | None
    quotas: list[QuotaState]
    """The quotas that are enforced: one in shadow never refuses a request, so it is not announced."""


def candidate_rules(policies: PolicySet, request: RequestHead) -> list[Rule]:
    """Return the rule of the question under each policy that the token may belong to.

    If it can belong to none, return the rule of any one policy of the host.
    """
    here = policies_of(policies, request.host)
    presented = [policy for policy in here if not isinstance(find_credential(request.fields, policy), Reason)]
    return [identity_rule(policy) for policy in presented or here[:1]]


def build_identity(admission: Authorized, record: TokenRecord) -> Identity:
    """Build the answer about the token."""
    facts = admission.facts
    return Identity(
        id=token_id(record.digest),
        name=record.name,
        policy=record.policy,
        plan=record.plan,
        project=record.project,
        owner=record.owner,
        scopes=effective_scopes(admission.rule, facts).split(),
        expires_at=None if record.expires_at is None else build_timestamp(record.expires_at).decode(),
        quotas=[
            QuotaState(
                name=window.quota.name,
                limit=window.quota.capacity,
                window_seconds=window.quota.policy_window_seconds,
                remaining=window.remaining(),
                reset_seconds=window.reset_seconds(facts.now),
            )
            for window in facts.windows
            if not window.quota.is_shadow
        ],
    )


def identity_rule(policy: Policy) -> Rule:
    """Return a rule that needs nothing but a valid token of the policy."""
    return build_rule(policy, _PATTERN, cost=0)
