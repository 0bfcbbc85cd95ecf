"""The outcome of a request, authorized or refused, and what every answer says about it."""

from collections.abc import Sequence

import msgspec

from gateway.core.admission.decision import AdmissionFacts, Authorized, Refused, ends_at
from gateway.core.admission.refusals import tell_bearer
from gateway.core.http.fields import build_timestamp
from gateway.core.http.messages import Ended, Field, RequestHead, Response, ResponseHead
from gateway.core.http.problems import PROBLEMS, build_refusal
from gateway.core.http.ratelimit_fields import (
    LIMIT_FIELD,
    POLICY_FIELD,
    build_ratelimit,
    build_ratelimit_policy,
    join_backends,
)
from gateway.core.http.reasons import Reason
from gateway.core.http.tracing import trace_of
from gateway.core.policies.model import PolicySet, Rule, policies_of
from gateway.core.quotas.costs import outcome_of
from gateway.core.quotas.model import Window
from gateway.core.tokens.records import AccessRecord, build_time
from gateway.core.tokens.text import token_id
from gateway.core.variants.model import InvalidOptions

EXPIRY_NOTICE_SECONDS = 14 * 86400
"""Seconds before a token expires from which X-Token-Expires-At warns: two weeks."""


def refuse_unmatched(reason: Reason, policies: PolicySet, host: str) -> Refused:
    """Return the refusal of a request without a rule, in the error format of the one policy for its host, if any."""
    named = policies_of(policies, host)
    return Refused(reason, policy=named[0] if len(named) == 1 else None)


def refuse_options(rule: Rule, facts: AdmissionFacts, invalid: InvalidOptions) -> Refused:
    """Return the refusal of a variant that is not offered: 404 if the path asks for it."""
    if invalid.in_path:
        return Refused(Reason.NO_MATCHING_RULE, rule, facts)
    return Refused(Reason.INVALID_OPTION, rule, facts, detail=invalid.detail, mistakes=invalid.mistakes)


def build_refused(request: RequestHead, refused: Refused) -> Response:
    """Build the answer to a refused request."""
    response = build_refusal(
        refused.reason,
        refused.rule.policy if refused.rule else refused.policy,
        request.id,
        required_scopes=refused.rule.scopes if refused.rule else (),
        retry_after=refused.retry_after,
        violated_policies=refused.violated_policies,
        detail=refused.detail or tell_bearer(refused),
        mistakes=refused.mistakes,
        lacking=refused.lacking,
    )
    cause = refused.upstream_error
    return msgspec.structs.replace(response, upstream_error=cause) if cause else response


def settle(outcome: Authorized | Refused, head: ResponseHead) -> Authorized | Refused:
    """Return the outcome with the cost that its answer shows, and the quotas with the unused units given back."""
    rule, facts = outcome.rule, outcome.facts
    if rule is None or facts is None or not facts.is_charged or rule.cost.by_outcome is None:
        return outcome
    cost = rule.cost.of(outcome_of(head, has_cache=rule.cache is not None), head.fields)
    units = facts.cost - cost
    if units == 0:
        return outcome
    windows = tuple(one.after_refund(units, facts.now) if one.fits_at is None else one for one in facts.windows)
    settled = msgspec.structs.replace(facts, windows=windows, cost=cost)
    return msgspec.structs.replace(outcome, facts=settled)


def add_token_state(fields: list[Field], outcome: Authorized | Refused) -> None:
    """Add the state of an authenticated token: its quotas, and its expiry if that is near."""
    rule, facts = outcome.rule, outcome.facts
    if rule is None or facts is None:
        return
    record = facts.record
    allotment = rule.allotment_of(record) if facts.windows else None
    policy_field = b"" if allotment is None else allotment.policy_field
    if allotment is not None and record is not None and record.overrides:
        policy_field = build_ratelimit_policy(one.quota for one in facts.windows)
    if policy_field:
        limit_field = build_ratelimit(facts.windows, facts.now)
        own = [(POLICY_FIELD, policy_field), (LIMIT_FIELD, limit_field)]
        backends = [field for field in fields if field[0] in (POLICY_FIELD, LIMIT_FIELD)]
        if backends:
            fields[:] = [field for field in fields if field not in backends]
            own = join_backends(policy_field, limit_field, backends)
        fields += own
    expires_at = ends_at(facts)
    if expires_at is not None and facts.now >= (expires_at - EXPIRY_NOTICE_SECONDS) * 1000:
        fields.append((b"x-token-expires-at", build_timestamp(expires_at)))


_REFUSED = frozenset({Ended.REVOKED, Ended.EXPIRED})


def build_access_record(
    request: RequestHead,
    outcome: Authorized | Refused,
    response: Response,
    policies: PolicySet,
    ended: Ended,
    sent_bytes: int,
    why: str,
    ended_at: float,
) -> AccessRecord:
    """Build the line of the access log.

    `why` is the reason of a refusal or the cause of a backend's failure that ended the answer. Whatever looks like a
    token is masked, in every field. `ended_at` is in Unix seconds.
    """
    head = response.head
    mask, facts, rule = policies.masking.mask_again, outcome.facts, outcome.rule
    record, windows = (facts.record, facts.windows) if facts else (None, ())
    identity, trace = token_id(record.digest) if record else "", trace_of(request)
    reason = outcome.reason if isinstance(outcome, Refused) else why if ended in _REFUSED else ""
    has_nobody = ended is Ended.CLIENT_GONE and not sent_bytes and not reason
    return AccessRecord(
        time=build_time(request.received_at),
        request_id=request.id,
        client=request.client,
        method=request.method,
        host=mask(request.host),
        path=mask(request.path),
        status=PROBLEMS[Reason.CLIENT_GONE].status if has_nobody else head.status,
        ended=ended,
        sent_bytes=sent_bytes,
        duration_seconds=round(max(0.0, ended_at - request.received_at), 6),
        decided=facts.now if facts else 0,
        policy=rule.policy.name if rule else "",
        rule=rule.pattern.text if rule else "",
        token=identity,
        token_name=mask(record.name) if record else "",
        reason=reason or (Reason.CLIENT_GONE if has_nobody else ""),
        upstream_error=response.upstream_error or ("" if ended in _REFUSED else why),
        cache=next((value.decode("latin-1") for name, value in reversed(head.fields) if name == b"cache-status"), ""),
        plan=record.plan if record else "",
        lineage=record.lineage if record and record.lineage != identity else "",
        project=mask(record.project) if record else "",
        owner=mask(record.owner) if record else "",
        cost=facts.cost if facts else 0,
        near=tuple([window.quota.name for window in windows if window.is_near()]),
        shadow_exceeded=_exceeded_in_shadow(rule, windows),
        trace=trace.trace_id,
        span=trace.span_id,
    )


def end_early(record: AccessRecord, ended: Ended, sent_bytes: int) -> AccessRecord:
    """Return the record of an answer that was not sent to its end, or not taken, from that of a complete one."""
    ending = msgspec.structs.replace(record, ended=ended, sent_bytes=sent_bytes)
    if ended is Ended.CLIENT_GONE and not sent_bytes and not record.reason:
        status = PROBLEMS[Reason.CLIENT_GONE].status
        return msgspec.structs.replace(ending, status=status, reason=Reason.CLIENT_GONE)
    return ending


def _exceeded_in_shadow(rule: Rule | None, windows: Sequence[Window]) -> tuple[str, ...]:
    """Return the quotas in shadow that would have refused the request, because they had no room."""
    cost = rule.cost.reserved if rule else 0
    return tuple(
        [
            window.quota.name
            for window in windows
            if window.quota.is_shadow and window.fits_at is not None and window.has_no_room(cost)
        ]
    )
