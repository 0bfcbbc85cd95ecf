"""What a refusal tells the bearer of a token that exists: its state, or what it lacks and who can grant that.

Rule 1: only the bearer of the whole text learns anything: the facts of a refusal are those of the digest that was
presented. An unknown token gets the usual words, so a guess learns nothing.
Rule 2: why a token proves nothing any more is told only if the policy has `explain_refusals`.
Rule 3: nothing is told but what whoami tells the same bearer, and what the policy file says to everybody. Whether the
requested project exists is no part of that.
"""

from collections.abc import Callable, Mapping

from gateway.core.admission.decision import AdmissionFacts, Refused, lacking_scopes, scope_grantors
from gateway.core.http.fields import build_timestamp
from gateway.core.http.reasons import Reason
from gateway.core.tokens.records import TokenRecord


def tell_bearer(refused: Refused) -> str:
    """Return the detail for the bearer of the token; empty if the reason's usual detail applies."""
    rule, facts = refused.rule, refused.facts
    if rule is not None and refused.presented is not None and rule.policy.explains_refusals:
        return _STATES[refused.reason](refused.presented)
    if facts is not None and facts.record is not None and refused.reason in _LACKS:
        return _LACKS[refused.reason](facts.record, facts)
    return ""


def _date(seconds: int | None) -> str:
    return build_timestamp(seconds or 0).decode()


_STATES: Mapping[Reason, Callable[[TokenRecord], str]] = {
    Reason.REVOKED_TOKEN: lambda _: "The token was revoked.",
    Reason.PARENT_ENDED: lambda record: f"The token is a child of the token {record.parent}, which no longer works.",
    Reason.DISABLED_TOKEN: lambda _: "The token is disabled.",
    Reason.NOT_YET_VALID_TOKEN: lambda record: f"The token is not valid before {_date(record.not_before)}.",
    Reason.EXPIRED_TOKEN: lambda record: f"The token expired on {_date(record.expires_at)}.",
}


def _tell_blocked(record: TokenRecord, facts: AdmissionFacts) -> str:
    status = facts.restrictions.owner.status if facts.restrictions.owner else "not active"
    return f"The token's owner {record.owner} is {status}; an administrator can activate the owner."


def _tell_project(record: TokenRecord, facts: AdmissionFacts) -> str:
    if record.project and facts.request.project not in ("", record.project):
        return f"The token is for the project {record.project} only; {_granter(record)} can create one for another."
    return f"The token's owner {record.owner} has no part in the project; an administrator can add the owner to it."


def _tell_scope(record: TokenRecord, facts: AdmissionFacts) -> str:
    rule = facts.request.rule
    lacking = {who: ", ".join(lacking_scopes(rule, scopes)) for who, scopes in scope_grantors(record, facts)}
    told = [
        f"{who[0].upper()}{who[1:]} lacks {scopes}; {_grantor_of(who, record)} can grant it."
        for who, scopes in lacking.items()
        if scopes
    ]
    return " ".join(told)


def _tell_plan(record: TokenRecord, facts: AdmissionFacts) -> str:
    policy, rule = facts.request.rule.policy, facts.request.rule
    permitted = ", ".join(name for name in policy.plans if name in rule.permitted_plans)
    has = f"The plan {record.plan or 'of the token'} does not include {', '.join(rule.scopes) or 'this'}"
    return f"{has}; {f'these do: {permitted}' if permitted else 'no plan does'}. An administrator can change the plan."


_LACKS: Mapping[Reason, Callable[[TokenRecord, AdmissionFacts], str]] = {
    Reason.OWNER_BLOCKED: _tell_blocked,
    Reason.OTHER_PROJECT: _tell_project,
    Reason.INSUFFICIENT_SCOPE: _tell_scope,
    Reason.INSUFFICIENT_PLAN: _tell_plan,
}


def _granter(record: TokenRecord) -> str:
    """Return who can create or change the token: its owner, if it has one, or an administrator."""
    return f"its owner {record.owner} or an administrator" if record.owner else "an administrator"


def _grantor_of(who: str, record: TokenRecord) -> str:
    """Return who can give a scope to one of `scope_grantors`: only an administrator changes an owner."""
    return "an administrator" if who.startswith("the owner") else _granter(record)
