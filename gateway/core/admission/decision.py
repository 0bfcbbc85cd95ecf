"""The decision on whether a request may pass.

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


class Kin(msgspec.Struct, frozen=True):
    """The owner and the parent of a token, which bound what it may do."""

    owner: OwnerStanding | None = None
    """None if the token names no owner, or if nothing is known of the one that it names."""
    parent: TokenRecord | None = None
    """The parent of a child token; None if the token is no child, or if its parent no longer exists."""
    is_parent_revoked: bool = False


NO_KIN = Kin()


class Facts(msgspec.Struct, frozen=True):
    """The facts that one admission found in Redis, at one instant. `now` is Redis' clock, Unix time in milliseconds."""

    now: int
    record: TokenRecord | None
    """None for a digest that was never minted, and for a token of another policy."""
    is_revoked: bool
    is_charged: bool
    """Whether the script charged the quotas: it charges all of them or none."""
    windows: tuple[Window, ...]
    stored_heads: tuple[bytes, ...]
    """The heads of the stored responses of the URI that may answer this request, one for each variant, unordered."""
    project: str = ""
    """The project that the path names; empty if the rule binds no project."""
    kin: Kin = NO_KIN
    address: str = ""
    """The client's address."""
    export_key: str = ""
    """The key that was looked up; empty if no stored export could answer the request."""
    lease: str = ""
    """The name of the request among those in flight, if it is counted there."""
    cost: int = 0
    """Units charged to every quota: first what is reserved, in the end what the request really cost."""
    exists: bool = True
    """Whether a token of this id exists at all, even if only in another policy."""
    exports_at: int | None = None
    """The clock of the exports' own Redis, in milliseconds; None if they have none: then `now` applies."""

    @property
    def stored_now(self) -> int:
        """The time by which stored responses are fresh or stale, and older or newer than a purge."""
        return self.now if self.exports_at is None else self.exports_at


class Allow(msgspec.Struct, frozen=True):
    """The request may pass, in the name of `record`, which is None if the rule is public."""

    record: TokenRecord | None
    facts: Facts


class Deny(msgspec.Struct, frozen=True):
    """The request is refused. `facts` are set only if the token was authenticated."""

    reason: Reason
    facts: Facts | None = None
    violated: tuple[Window, ...] = ()
    """The windows without room, if that is the reason."""


Verdict: TypeAlias = Allow | Deny


def _is_unknown(_: Rule, facts: Facts) -> bool:
    return facts.record is None


def _is_revoked(_: Rule, facts: Facts) -> bool:
    return facts.is_revoked


def _has_no_parent_left(_: Rule, facts: Facts) -> bool:
    if not _record(facts).parent:
        return False
    parent = facts.kin.parent
    return parent is None or state_of(parent, facts.kin.is_parent_revoked, facts.now // 1000) is not TokenState.ACTIVE


def _is_disabled(_: Rule, facts: Facts) -> bool:
    return not _record(facts).is_active


def _is_not_yet_valid(_: Rule, facts: Facts) -> bool:
    not_before = _record(facts).not_before
    return not_before is not None and facts.now < not_before * 1000


def _is_expired(_: Rule, facts: Facts) -> bool:
    expires_at = _record(facts).expires_at
    return expires_at is not None and facts.now >= expires_at * 1000


def _has_blocked_owner(_: Rule, facts: Facts) -> bool:
    return facts.kin.owner is not None and facts.kin.owner.status != OwnerStatus.ACTIVE


def _is_of_other_project(_: Rule, facts: Facts) -> bool:
    own = _record(facts).project
    if own != "" and facts.project not in ("", own):
        return True
    owner = facts.kin.owner
    return owner is not None and owner.scopes is None and (facts.project or own) != ""


def _lacks_scope(rule: Rule, facts: Facts) -> bool:
    if facts.kin is NO_KIN:  # nearly all tokens: nobody else is asked
        return not _holds(rule.granting, _record(facts).scopes)
    return not all(_holds(rule.granting, scopes) for _, scopes in sides_of(facts))


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
"""If one of these fails, the token proves nothing about its bearer, and the answer reveals nothing about the token."""

FAILED_CREDENTIALS = frozenset({Reason.MALFORMED_CREDENTIALS, Reason.UNKNOWN_TOKEN})
"""Reasons that may mean a guess. A token that exists is no guess, whatever its state: an old secret is no attack."""

PERMISSION_CHECKS: tuple[tuple[Reason, Callable[[Rule, Facts], bool]], ...] = (
    (Reason.OWNER_BLOCKED, _has_blocked_owner),
    (Reason.OTHER_PROJECT, _is_of_other_project),
    (Reason.INSUFFICIENT_SCOPE, _lacks_scope),
    (Reason.INSUFFICIENT_PLAN, _lacks_plan),
    (Reason.QUOTA_EXCEEDED, _is_over_quota),
)


def decide(rule: Rule, facts: Facts) -> Verdict:
    """Return the verdict on a request that matched `rule`: the first check that fails names the reason."""
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
    """Return whether `scopes` grant every needed scope."""
    held = scopes.split(" ")
    return not any(by.isdisjoint(held) for by in granting)


def sides_of(facts: Facts) -> list[tuple[str, str]]:
    """Return who must hold a needed scope, each with the scopes that it holds; the plan is checked apart from these."""
    record, kin = _record(facts), facts.kin
    sides = [("the token", record.scopes)]
    if kin.owner is not None:
        sides.append((f"the owner {record.owner}", kin.owner.scopes or ""))
    if kin.parent is not None:
        sides.append((f"the parent {record.parent}", kin.parent.scopes))
    return sides


def lacking_scopes(rule: Rule, scopes: str) -> list[str]:
    """Return the scopes of the rule that `scopes` neither contain nor imply."""
    held = scopes.split(" ")
    return [scope for scope, by in zip(rule.scopes, rule.granting, strict=True) if by.isdisjoint(held)]


def effective_scopes(rule: Rule, facts: Facts) -> str:
    """Return what the token may use for this request: the scopes that all its sides hold and its plan covers."""
    return rule.policy.effective_scopes([scopes for _, scopes in sides_of(facts)], _record(facts).plan)


def ends_at(facts: Facts) -> int | None:
    """Return the second from which the token no longer works, by its own expiry or its parent's; None means never."""
    if facts.kin is NO_KIN:
        return facts.record.expires_at if facts.record else None
    ends = [one.expires_at for one in (facts.record, facts.kin.parent) if one and one.expires_at is not None]
    return min(ends, default=None)


def _record(facts: Facts) -> TokenRecord:
    if facts.record is None:
        raise ValueError("the token is unknown")
    return facts.record
