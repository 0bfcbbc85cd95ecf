"""Who a token is: what whoami, one of the gateway's own addresses, says to the one who holds it.

A rule that no policy file writes stands for the question: it asks for nothing but a valid token, and costs nothing. So
the checks are those of every request (core/admission/decision.py), over facts that were read without a trace.
"""

from collections.abc import Iterator

import msgspec

from gateway.core.admission.decision import Authorized, effective_scopes
from gateway.core.http.fields import build_timestamp
from gateway.core.http.messages import RequestHead
from gateway.core.http.reasons import Reason
from gateway.core.own_addresses import DEFAULT, WHOAMI
from gateway.core.policies.guarded import build_rule
from gateway.core.policies.matching import parse_pattern
from gateway.core.policies.model import Policy, PolicySet, Rule
from gateway.core.tokens.credentials import find_credential
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import token_id

_PATTERN = parse_pattern(f"GET {DEFAULT.path(WHOAMI)}")
"""What logs call the question, wherever it is asked."""


class QuotaState(msgspec.Struct, frozen=True):
    """Where the token stands in one quota; what the RateLimit fields say, in words."""

    name: str
    limit: int
    window_seconds: int
    remaining: int
    reset_seconds: int


class Identity(msgspec.Struct, frozen=True):
    """The answer. Texts that say nothing are empty; times are RFC 3339, None where there is no such time."""

    id: str
    name: str
    policy: str
    plan: str
    project: str
    owner: str
    scopes: list[str]
    """What it may use: the backend is told the same."""
    expires_at: str | None
    quotas: list[QuotaState]
    """Those that are enforced: for one in shadow nobody is refused, so nobody is told of it."""


def candidate_rules(policies: PolicySet, request: RequestHead) -> list[Rule]:
    """The question under each policy whose token this may be; under any one of the host where it can be none's."""
    here = list(_policies_of(policies, request.host))
    presented = [policy for policy in here if not isinstance(find_credential(request.fields, policy), Reason)]
    return [identity_rule(policy) for policy in presented or here[:1]]


def build_identity(admission: Authorized, record: TokenRecord) -> Identity:
    """What is said of the token."""
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


def _policies_of(policies: PolicySet, host: str) -> Iterator[Policy]:
    """The policies of a host: those that name it, else those of any host."""
    every = policies.policies.values()
    yield from [policy for policy in every if host in policy.hosts] or [policy for policy in every if not policy.hosts]


def identity_rule(policy: Policy) -> Rule:
    """What asks for nothing but a valid token of the policy."""
    return build_rule(policy, _PATTERN, cost=0)
