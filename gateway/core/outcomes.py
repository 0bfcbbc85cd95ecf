"""What became of a request, authorized or refused, and what every answer says of it."""

import msgspec

from gateway.core.decision import Deny, Facts, plan_of
from gateway.core.fields import build_ratelimit, build_timestamp
from gateway.core.messages import Field, RequestHead, Response, ResponseHead, field_value
from gateway.core.policies.rules import Rule
from gateway.core.problems import build_refusal
from gateway.core.quotas import retry_after_seconds
from gateway.core.reasons import Reason
from gateway.core.records import AccessRecord, TokenRecord
from gateway.core.tokens import token_id
from gateway.core.variants.variant import InvalidOptions, OptionMistake

EXPIRY_NOTICE_SECONDS = 14 * 86400
"""From when on X-Token-Expires-At warns that a token ends: a sprint before it does."""


class Authorized(msgspec.Struct, frozen=True):
    """The request may pass under `rule`, in the name of `record`; in nobody's where the rule is public."""

    rule: Rule
    record: TokenRecord | None
    facts: Facts


class Refused(msgspec.Struct, frozen=True):
    """The request may not pass; `rule` and `facts` as far as it came (facts only of an authenticated token)."""

    reason: Reason
    rule: Rule | None = None
    facts: Facts | None = None
    retry_after: int | None = None
    violated_policies: tuple[str, ...] = ()
    detail: str = ""
    """What there is to say of this occurrence; empty: what its reason always says."""
    mistakes: tuple[OptionMistake, ...] = ()


def refuse(rule: Rule, verdict: Deny) -> Refused:
    """The refusal that a verdict asks for; over a quota it says when to come back."""
    if verdict.reason is not Reason.QUOTA_EXCEEDED or verdict.facts is None or verdict.facts.record is None:
        return Refused(verdict.reason, rule, verdict.facts)
    windows, identity = verdict.violated, token_id(verdict.facts.record.digest)
    return Refused(
        verdict.reason,
        rule,
        verdict.facts,
        retry_after=retry_after_seconds(windows, verdict.facts.now, identity),
        violated_policies=tuple(window.quota.name for window in windows),
    )


def refuse_options(rule: Rule, facts: Facts, invalid: InvalidOptions) -> Refused:
    """The refusal of a variant that is not offered; where the path asks for it, there is nothing at this path."""
    if invalid.in_path:
        return Refused(Reason.NO_MATCHING_RULE, rule, facts)
    return Refused(Reason.INVALID_OPTION, rule, facts, detail=invalid.detail, mistakes=invalid.mistakes)


def build_refused(request: RequestHead, refused: Refused) -> Response:
    """The answer to a refused request."""
    return build_refusal(
        refused.reason,
        refused.rule.policy if refused.rule else None,
        request.id,
        required_scopes=refused.rule.scopes if refused.rule else (),
        retry_after=refused.retry_after,
        violated_policies=refused.violated_policies,
        detail=refused.detail,
        mistakes=refused.mistakes,
    )


def build_token_state(outcome: Authorized | Refused) -> list[Field]:
    """Where an authenticated token stands: its quotas, and its end if that is near."""
    rule, facts = outcome.rule, outcome.facts
    if rule is None or facts is None:
        return []
    fields: list[Field] = []
    plan = plan_of(rule, facts)
    if plan is not None and facts.windows:
        fields.append((b"ratelimit-policy", plan.policy_field))
        fields.append((b"ratelimit", build_ratelimit(facts.windows, facts.now)))
    expires_at = facts.record.expires_at if facts.record else None
    if expires_at is not None and expires_at * 1000 - facts.now < EXPIRY_NOTICE_SECONDS * 1000:
        fields.append((b"x-token-expires-at", build_timestamp(expires_at)))
    return fields


def build_access_record(request: RequestHead, outcome: Authorized | Refused, head: ResponseHead) -> AccessRecord:
    """The line of the access log; `head` is the answer's."""
    record = outcome.facts.record if outcome.facts else None
    return AccessRecord(
        time=request.received_at,
        request_id=request.id,
        client=request.client,
        method=request.method,
        host=request.host,
        path=request.path,
        status=head.status,
        policy=outcome.rule.policy.name if outcome.rule else "",
        rule=outcome.rule.pattern.text if outcome.rule else "",
        token=token_id(record.digest) if record else "",
        token_name=record.name if record else "",
        reason=outcome.reason if isinstance(outcome, Refused) else "",
        cache=(field_value(head.fields, b"cache-status") or b"").decode(),
    )
