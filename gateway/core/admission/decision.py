"""The decision on whether a request may pass.

Rule 1: a token that is revoked, or that nobody minted, is refused first: nothing else is read of it. Every other reason
to refuse a token is in `TOKEN_CHECKS` and `PERMISSION_CHECKS`.
Rule 2: nothing here awaits, reads a clock or asks Redis. `AdmissionFacts` are what the one round trip brought back.
Rule 3: the order of the checks is the order of the answers: a revoked token over its quota is revoked.

The admission script makes the same checks before it charges a quota (a refused request charges nothing), but it cannot
let anybody in: the verdict is made here, from the facts.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from gateway.core.http.reasons import Reason
from gateway.core.policies.model import Policy, Rule
from gateway.core.quotas.model import Window, exceeded, retry_after_seconds
from gateway.core.tokens.changes import TokenState, state_of
from gateway.core.tokens.owners import OwnerStanding, OwnerStatus
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import token_id
from gateway.core.variants.model import OptionMistake, Variant


class AdmissionRequest(msgspec.Struct, frozen=True):
    """The question of one admission: which token is presented, and for which request."""

    rule: Rule
    digest: str = ""
    """The digest of the presented token; empty if the rule is public."""
    export_key: str = ""
    """Empty if no stored export could answer the request."""
    project: str = ""
    """The project that the path names; empty if the rule binds no project."""
    address: str = ""
    """The client's address, as far as trusted proxies report it."""
    lease: str = ""
    """The name of the request among those in flight; empty if the rule does not count them."""
    keeps_reply: bool = False
    """Whether the facts keep the reply that they were read from."""


class Restrictions(msgspec.Struct, frozen=True):
    """The owner and the parent of a token, which bound what it may do."""

    owner: OwnerStanding | None = None
    """None if the token names no owner, or if nothing is known of the one that it names."""
    parent: TokenRecord | None = None
    """The parent of a child token; None if the token is no child, or if its parent no longer exists."""
    is_parent_revoked: bool = False


NO_RESTRICTIONS = Restrictions()


class AdmissionFacts(msgspec.Struct, frozen=True):
    """The facts that one admission found in Redis, at one instant. `now` is Redis' clock, Unix time in milliseconds."""

    request: AdmissionRequest
    now: int
    record: TokenRecord | None
    """None for a digest that was never minted, and for a token of another policy."""
    is_revoked: bool
    is_charged: bool
    """Whether the script charged the quotas: it charges all of them or none."""
    windows: tuple[Window, ...]
    stored_heads: tuple[bytes, ...]
    """The heads of the stored responses of the URI that may answer this request, one for each variant, unordered."""
    restrictions: Restrictions = NO_RESTRICTIONS
    cost: int = 0
    """Units charged to every quota: first what is reserved, in the end what the request really cost."""
    exists: bool = True
    """Whether a token of this id exists at all, even if only in another policy."""
    exports_at: int | None = None
    """The clock of the exports' own Redis, in milliseconds; None if they have none: then `now` applies."""
    reply: Sequence[Any] = ()
    """The reply that they were read from, if the request keeps it."""

    @property
    def stored_now(self) -> int:
        """The time by which stored responses are fresh or stale, and older or newer than a purge."""
        return self.now if self.exports_at is None else self.exports_at


class Authorized(msgspec.Struct, frozen=True):
    """The request may pass under `rule`, in the name of `facts.record`, which is None if the rule is public."""

    rule: Rule
    facts: AdmissionFacts
    variant: Variant | None = None
    """The requested variant, if the rule has variants."""


class Refused(msgspec.Struct, frozen=True):
    """The request may not pass. `rule` and `facts` are set as far as it came; `facts` need an authenticated token."""

    reason: Reason
    rule: Rule | None = None
    facts: AdmissionFacts | None = None
    retry_after: int | None = None
    violated_policies: tuple[str, ...] = ()
    """The quotas without room, if that is the reason."""
    detail: str = ""
    """The detail of this occurrence; if empty, the reason's usual detail applies."""
    mistakes: tuple[OptionMistake, ...] = ()
    policy: Policy | None = None
    """The policy whose error format applies if no rule matched; None if no policy does."""
    lacking: str = ""
    """What a proxy that asks leaves out (core/http/forward_auth.py)."""
    upstream_error: str = ""
    """Why the backend failed (core/upstream/causes.py)."""
    presented: TokenRecord | None = None
    """The record of a token that exists but proves nothing: revoked, disabled, or outside its dates. It authenticates
    nobody, so there are no facts beside it."""


Verdict: TypeAlias = Authorized | Refused


def _has_no_parent_left(record: TokenRecord, facts: AdmissionFacts) -> bool:
    if not record.parent:
        return False
    parent = facts.restrictions.parent
    return (
        parent is None
        or state_of(parent, facts.restrictions.is_parent_revoked, facts.now // 1000) is not TokenState.ACTIVE
    )


def _is_disabled(record: TokenRecord, _: AdmissionFacts) -> bool:
    return not record.is_active


def _is_not_yet_valid(record: TokenRecord, facts: AdmissionFacts) -> bool:
    return record.not_before is not None and facts.now < record.not_before * 1000


def _is_expired(record: TokenRecord, facts: AdmissionFacts) -> bool:
    return record.expires_at is not None and facts.now >= record.expires_at * 1000


def _has_blocked_owner(_: TokenRecord, facts: AdmissionFacts) -> bool:
    return facts.restrictions.owner is not None and facts.restrictions.owner.status != OwnerStatus.ACTIVE


def _is_of_other_project(record: TokenRecord, facts: AdmissionFacts) -> bool:
    own, named = record.project, facts.request.project
    if own != "" and named not in ("", own):
        return True
    owner = facts.restrictions.owner
    return owner is not None and owner.scopes is None and (named or own) != ""


def _lacks_scope(record: TokenRecord, facts: AdmissionFacts) -> bool:
    granting = facts.request.rule.granting
    if facts.restrictions is NO_RESTRICTIONS:  # nearly all tokens: only their own scopes count
        return not _holds(granting, record.scopes)
    return not all(_holds(granting, scopes) for _, scopes in scope_grantors(record, facts))


def _lacks_plan(record: TokenRecord, facts: AdmissionFacts) -> bool:
    return record.plan not in facts.request.rule.permitted_plans


def _is_over_quota(_: TokenRecord, facts: AdmissionFacts) -> bool:
    return not facts.is_charged


Check: TypeAlias = Callable[[TokenRecord, AdmissionFacts], bool]
"""Returns whether a token fails the check."""

TOKEN_CHECKS: tuple[tuple[Reason, Check], ...] = (
    (Reason.PARENT_ENDED, _has_no_parent_left),
    (Reason.DISABLED_TOKEN, _is_disabled),
    (Reason.NOT_YET_VALID_TOKEN, _is_not_yet_valid),
    (Reason.EXPIRED_TOKEN, _is_expired),
)
"""If one of these fails, the token proves nothing about its bearer. The answer reveals which one only if the policy
explains refusals (refusals.py)."""

FAILED_CREDENTIALS = frozenset({Reason.MALFORMED_CREDENTIALS, Reason.UNKNOWN_TOKEN})
"""Reasons that may mean a guess. A token that exists is no guess, whatever its state: an old secret is no attack."""

PERMISSION_CHECKS: tuple[tuple[Reason, Check], ...] = (
    (Reason.OWNER_BLOCKED, _has_blocked_owner),
    (Reason.OTHER_PROJECT, _is_of_other_project),
    (Reason.INSUFFICIENT_SCOPE, _lacks_scope),
    (Reason.INSUFFICIENT_PLAN, _lacks_plan),
    (Reason.QUOTA_EXCEEDED, _is_over_quota),
)


def decide(facts: AdmissionFacts) -> Verdict:
    """Return the verdict on the admitted request: the first check that fails names the reason."""
    rule = facts.request.rule
    if rule.is_public:
        return Authorized(rule, facts) if facts.is_charged else _refuse(Reason.QUOTA_EXCEEDED, facts)
    record = facts.record
    if facts.is_revoked:
        return Refused(Reason.REVOKED_TOKEN, rule, presented=record)
    if record is None:
        return Refused(Reason.UNKNOWN_TOKEN, rule)
    for reason, fails in TOKEN_CHECKS:
        if fails(record, facts):
            return Refused(reason, rule, presented=record)
    for reason, fails in PERMISSION_CHECKS:
        if fails(record, facts):
            return _refuse(reason, facts)
    return Authorized(rule, facts)


def _refuse(reason: Reason, facts: AdmissionFacts) -> Refused:
    """Return the refusal of an authenticated token; over a quota, it says when to retry."""
    rule, record = facts.request.rule, facts.record
    if reason is not Reason.QUOTA_EXCEEDED:
        return Refused(reason, rule, facts)
    violated = exceeded(facts.windows, rule.cost.reserved)
    who = token_id(record.digest) if record else facts.request.address
    wait = retry_after_seconds(violated, facts.now, who)
    return Refused(reason, rule, facts, wait, tuple([window.quota.name for window in violated]))


@functools.lru_cache(maxsize=4096)
def _holds(granting: tuple[frozenset[str], ...], scopes: str) -> bool:
    """Return whether `scopes` grant every needed scope."""
    held = scopes.split(" ")
    return not any(by.isdisjoint(held) for by in granting)


def scope_grantors(record: TokenRecord, facts: AdmissionFacts) -> list[tuple[str, str]]:
    """Return the names of all that must hold a needed scope, with their scopes; the plan is checked separately."""
    restrictions = facts.restrictions
    grantors = [("the token", record.scopes)]
    if restrictions.owner is not None:
        grantors.append((f"the owner {record.owner}", restrictions.owner.scopes or ""))
    if restrictions.parent is not None:
        grantors.append((f"the parent {record.parent}", restrictions.parent.scopes))
    return grantors


def lacking_scopes(rule: Rule, scopes: str) -> list[str]:
    """Return the scopes of the rule that `scopes` neither contain nor imply."""
    held = scopes.split(" ")
    return [scope for scope, by in zip(rule.scopes, rule.granting, strict=True) if by.isdisjoint(held)]


def effective_scopes(rule: Rule, facts: AdmissionFacts) -> str:
    """Return what the token may use for this request: the scopes that all its grantors hold and its plan covers."""
    record = _record(facts)
    return rule.policy.effective_scopes([scopes for _, scopes in scope_grantors(record, facts)], record.plan)


def ends_at(facts: AdmissionFacts) -> int | None:
    """Return the second from which the token no longer works, by its own expiry or its parent's; None means never."""
    if facts.restrictions is NO_RESTRICTIONS:
        return facts.record.expires_at if facts.record else None
    ends = [one.expires_at for one in (facts.record, facts.restrictions.parent) if one and one.expires_at is not None]
    return min(ends, default=None)


def _record(facts: AdmissionFacts) -> TokenRecord:
    if facts.record is None:
        raise ValueError("the token is unknown")
    return facts.record
