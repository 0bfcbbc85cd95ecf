"""Whether a request may pass.

Rule 1: every reason to refuse a token is in `TOKEN_CHECKS` and `PERMISSION_CHECKS`.
Rule 2: nothing here awaits, reads a clock or asks Redis. `Facts` are what the one round trip brought back.
Rule 3: the order of the checks is the order of the answers: a revoked token over its quota is revoked.

The admission script makes the same checks before it charges a quota (a refused request charges nothing), but it cannot
let anybody in: the verdict is made here, from the facts.
"""

import functools
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from gateway.core.http.reasons import Reason
from gateway.core.policies.model import Rule
from gateway.core.quotas.model import Window, exceeded
from gateway.core.tokens.changes import TokenState, state_of
from gateway.core.tokens.owners import OwnerStanding, OwnerStatus
from gateway.core.tokens.records import TokenRecord


class Asked(msgspec.Struct, frozen=True):
    """What one admission is asked: who presents what, and for which request."""

    rule: Rule
    digest: str = ""
    """Of the presented token; empty where the rule is public."""
    export_key: str = ""
    """Empty where no stored export could answer the request."""
    project: str = ""
    """The project that the path names; empty where the rule says nothing of it."""
    address: str = ""
    """The client's, as far as trusted proxies tell."""
    lease: str = ""
    """Names the request among those in flight; empty where the rule does not count these."""


class Restrictions(msgspec.Struct, frozen=True):
    """What bounds a token beside its own record: its owner and its parent."""

    owner: OwnerStanding | None = None
    """None where the token names no owner, and where nothing is known of the one that it names."""
    parent: TokenRecord | None = None
    """Of a child token; None where it is no child, and where its parent is gone."""
    is_parent_revoked: bool = False


NO_RESTRICTIONS = Restrictions()


class Facts(msgspec.Struct, frozen=True):
    """What one admission found in Redis, at one instant. `now` is Redis' clock, Unix time in milliseconds."""

    now: int
    record: TokenRecord | None
    """None for a digest nobody minted, and for a token of another policy."""
    is_revoked: bool
    is_charged: bool
    """Whether the script charged the quotas: it does so for all of them or for none."""
    windows: tuple[Window, ...]
    stored_heads: tuple[bytes, ...]
    """The heads of what is stored for the URI and may answer this request, one a variant, in no order."""
    project: str = ""
    """The project that the path names; empty where the rule says nothing of it."""
    restrictions: Restrictions = NO_RESTRICTIONS
    address: str = ""
    """The client's."""
    export_key: str = ""
    """What was looked for; empty where no stored export could answer the request."""
    lease: str = ""
    """Names the request among those in flight, where it is counted among them."""
    cost: int = 0
    """Units that every quota was charged: what is reserved, and in the end what the request really cost."""
    exists: bool = True
    """Whether there is a token of this id at all, if only one of another policy."""
    exports_at: int | None = None
    """The clock of the Redis that has the exports, if they have one of their own; None: `now` is theirs."""

    @property
    def stored_now(self) -> int:
        """The time by which what is stored is fresh or stale, older than a purge or not."""
        return self.now if self.exports_at is None else self.exports_at


class Allow(msgspec.Struct, frozen=True):
    """The request may pass, in the name of `record`; in nobody's where the rule is public."""

    record: TokenRecord | None
    facts: Facts


class Deny(msgspec.Struct, frozen=True):
    """The request is refused. `facts` are there when the token was authenticated, and only then."""

    reason: Reason
    facts: Facts | None = None
    violated: tuple[Window, ...] = ()
    """The windows without room, where that is the reason."""


Verdict: TypeAlias = Allow | Deny


def _is_unknown(_: Rule, facts: Facts) -> bool:
    return facts.record is None


def _is_revoked(_: Rule, facts: Facts) -> bool:
    return facts.is_revoked


def _has_no_parent_left(_: Rule, facts: Facts) -> bool:
    if not _record(facts).parent:
        return False
    parent = facts.restrictions.parent
    return (
        parent is None
        or state_of(parent, facts.restrictions.is_parent_revoked, facts.now // 1000) is not TokenState.ACTIVE
    )


def _is_disabled(_: Rule, facts: Facts) -> bool:
    return not _record(facts).is_active


def _is_not_yet_valid(_: Rule, facts: Facts) -> bool:
    not_before = _record(facts).not_before
    return not_before is not None and facts.now < not_before * 1000


def _is_expired(_: Rule, facts: Facts) -> bool:
    expires_at = _record(facts).expires_at
    return expires_at is not None and facts.now >= expires_at * 1000


def _has_blocked_owner(_: Rule, facts: Facts) -> bool:
    return facts.restrictions.owner is not None and facts.restrictions.owner.status != OwnerStatus.ACTIVE


def _is_of_other_project(_: Rule, facts: Facts) -> bool:
    own = _record(facts).project
    if own != "" and facts.project not in ("", own):
        return True
    owner = facts.restrictions.owner
    return owner is not None and owner.scopes is None and (facts.project or own) != ""


def _lacks_scope(rule: Rule, facts: Facts) -> bool:
    if facts.restrictions is NO_RESTRICTIONS:  # nearly all tokens: nobody else is asked
        return not _holds(rule.granting, _record(facts).scopes)
    return not all(_holds(rule.granting, scopes) for _, scopes in scope_grantors(facts))


def _lacks_plan(rule: Rule, facts: Facts) -> bool:
    return _record(facts).plan not in rule.permitted_plans


def _is_over_quota(_: Rule, facts: Facts) -> bool:
    return not facts.is_charged


TOKEN_CHECKS: tuple[tuple[Reason, Callable[[Rule, Facts], bool]], ...] = (
    (Reason.REVOKED_TOKEN, _is_revoked),
    (Reason.UNKNOWN_TOKEN, _is_unknown),
    (Reason.PARENT_ENDED, _has_no_parent_left),
    (Reason.DISABLED_TOKEN, _is_disabled),
    (Reason.NOT_YET_VALID_TOKEN, _is_not_yet_valid),
    (Reason.EXPIRED_TOKEN, _is_expired),
)
"""Failing one of these, the token says nothing about its holder, and the answer nothing about the token."""

FAILED_CREDENTIALS = frozenset({Reason.MALFORMED_CREDENTIALS, Reason.UNKNOWN_TOKEN})
"""What may be a guess. A token that exists is none, whatever its state: a stale secret is not an attack."""

PERMISSION_CHECKS: tuple[tuple[Reason, Callable[[Rule, Facts], bool]], ...] = (
    (Reason.OWNER_BLOCKED, _has_blocked_owner),
    (Reason.OTHER_PROJECT, _is_of_other_project),
    (Reason.INSUFFICIENT_SCOPE, _lacks_scope),
    (Reason.INSUFFICIENT_PLAN, _lacks_plan),
    (Reason.QUOTA_EXCEEDED, _is_over_quota),
)


def decide(rule: Rule, facts: Facts) -> Verdict:
    """The verdict on a request that matched `rule`: the first check that fails names the reason."""
    if rule.is_public:
        return Allow(None, facts) if facts.is_charged else _deny(Reason.QUOTA_EXCEEDED, rule, facts)
    for reason, fails in TOKEN_CHECKS:
        if fails(rule, facts):
            return Deny(reason)
    for reason, fails in PERMISSION_CHECKS:
        if fails(rule, facts):
            return _deny(reason, rule, facts)
    return Allow(_record(facts), facts)


def _deny(reason: Reason, rule: Rule, facts: Facts) -> Deny:
    violated = exceeded(facts.windows, rule.cost.reserved) if reason is Reason.QUOTA_EXCEEDED else ()
    return Deny(reason, facts, tuple(violated))


@functools.lru_cache(maxsize=4096)
def _holds(granting: tuple[frozenset[str], ...], scopes: str) -> bool:
    """Whether of each needed scope one that grants it is among `scopes`."""
    held = scopes.split(" ")
    return not any(by.isdisjoint(held) for by in granting)


def scope_grantors(facts: Facts) -> list[tuple[str, str]]:
    """Who has to hold a scope that the request needs, each with the scopes it holds; the plan is one more grantor."""
    record, restrictions = _record(facts), facts.restrictions
    grantors = [("the token", record.scopes)]
    if restrictions.owner is not None:
        grantors.append((f"the owner {record.owner}", restrictions.owner.scopes or ""))
    if restrictions.parent is not None:
        grantors.append((f"the parent {record.parent}", restrictions.parent.scopes))
    return grantors


def lacking_scopes(rule: Rule, scopes: str) -> list[str]:
    """Those of the rule's scopes that are not among `scopes`, nor implied by any of them."""
    held = scopes.split(" ")
    return [scope for scope, by in zip(rule.scopes, rule.granting, strict=True) if by.isdisjoint(held)]


def effective_scopes(rule: Rule, facts: Facts) -> str:
    """What the token may use for this request: what all its grantors hold and its plan covers."""
    return rule.policy.effective_scopes([scopes for _, scopes in scope_grantors(facts)], _record(facts).plan)


def ends_at(facts: Facts) -> int | None:
    """The first second in which the token no longer works, of its own or of its parent's making; None: never."""
    if facts.restrictions is NO_RESTRICTIONS:
        return facts.record.expires_at if facts.record else None
    ends = [one.expires_at for one in (facts.record, facts.restrictions.parent) if one and one.expires_at is not None]
    return min(ends, default=None)


def _record(facts: Facts) -> TokenRecord:
    if facts.record is None:
        raise ValueError("the token is unknown")
    return facts.record
