"""Decide requests that were answered before, under other policies, by the code that decides in production.

The log says who asked, for what, and when; the policies say which rule and quotas apply; the reference model of the
admission script counts. What a policy file cannot change stays as it was: whether a token was known, revoked or
expired, and, unless the tokens' scopes are given, whether it held them.

What the log cannot say is assumed: a request that was refused then and passes now takes as long as the requests of its
rule took before it, and costs what a request that asks the backend costs. Overrides of single tokens are not replayed.
"""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from gateway.core.admission.decision import lacking_scopes
from gateway.core.http.messages import Field, ResponseHead
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import parse_path
from gateway.core.policies.model import PolicySet, Rule
from gateway.core.quotas.algorithms import State
from gateway.core.quotas.charging import refund, release, take
from gateway.core.quotas.costs import Outcome, outcome_of
from gateway.core.quotas.model import Quota
from gateway.core.quotas.partitions import holder_of
from gateway.core.simulation.requests import LoggedRequest

KEPT = frozenset(
    {
        Reason.MALFORMED_REQUEST,
        Reason.UNKNOWN_VERSION,
        Reason.HEAD_TOO_LARGE,
        Reason.REQUEST_TIMEOUT,
        Reason.MALFORMED_TARGET,
        Reason.TARGET_TOO_LONG,
        Reason.UNSUPPORTED,
        Reason.OVERLOADED,
        Reason.MISSING_ORIGINAL,
        Reason.UNTRUSTED_PROXY,
        Reason.MALFORMED_CREDENTIALS,
        Reason.AMBIGUOUS_CREDENTIALS,
        Reason.TOO_MANY_FAILURES,
        Reason.UNKNOWN_TOKEN,
        Reason.REVOKED_TOKEN,
        Reason.PARENT_ENDED,
        Reason.DISABLED_TOKEN,
        Reason.NOT_YET_VALID_TOKEN,
        Reason.EXPIRED_TOKEN,
        Reason.OWNER_BLOCKED,
        Reason.OTHER_PROJECT,
        Reason.STORE_UNAVAILABLE,
    }
)
"""Refusals that no policy file changes: such a request is refused again, and charges nothing."""
MAXIMUM_CASES = 50_000
"""Kinds of requests that are remembered with what the policies say of them."""


class Verdict(NamedTuple):
    """What would become of a request."""

    reason: str
    """Why it is refused; empty if it passes."""
    quotas: tuple[Quota, ...] = ()
    """Those without room, if that is the reason."""
    shadow: tuple[Quota, ...] = ()
    """Those in shadow without room."""


class Case(msgspec.Struct, frozen=True):
    """What the policies say of all requests of one kind."""

    rule: Rule | None = None
    reason: str = ""
    """Why all of them are refused, whatever the quotas say; empty if none is."""
    quotas: tuple[Quota, ...] = ()
    policy: str = ""
    name: str = ""
    """The rule and its policy, for people."""


class Ask(NamedTuple):
    """A request that the quotas decided: for whoever asks what other limits would do."""

    case: Case
    holders: list[str]
    """Of each quota."""
    cost: int
    """In the end."""
    ends_at: int


PASSES = Verdict("")
_Counter = tuple[str, str, str, str]
"""The policy, whom the quota counts for, who that is, and the counter."""


class Replay:
    """Requests in the order of their decisions, under a candidate's policies."""

    def __init__(
        self, policies: PolicySet, plan: str | None = None, scopes: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Take the plan of requests of which the log tells none, and the tokens' scopes by their ids, if known."""
        self._policies = policies
        self._plan = plan
        self._scopes = scopes
        self._cases: dict[tuple[str, str, str, str, str, bool], Case] = {}
        self._states: dict[_Counter, State | None] = {}
        self._due: list[tuple[int, int, _Pending]] = []
        self._mean: dict[str, tuple[int, float]] = {}
        self._number = 0

    def decide(self, request: LoggedRequest) -> tuple[Verdict, Ask | None]:
        """Return what becomes of the next request, and what its quotas were asked, if they were."""
        now = request.decided
        while self._due and self._due[0][0] <= now:
            self._settle(heappop(self._due)[2])
        if request.reason in KEPT:
            return Verdict(request.reason), None
        case = self._find(request)
        if case.rule is None or case.reason:
            return Verdict(case.reason), None
        return self._charge(request, case, case.rule, now)

    def _find(self, request: LoggedRequest) -> Case:
        """Return what the policies say, remembered by all that it depends on."""
        who = request.token if self._scopes else "anybody" if request.token else ""
        lacked = request.reason == Reason.INSUFFICIENT_SCOPE
        key = (request.host, request.method, request.path, request.plan, who, lacked)
        case = self._cases.get(key)
        if case is None:
            if len(self._cases) >= MAXIMUM_CASES:
                self._cases.clear()
            case = self._cases[key] = self._judge(request)
        return case

    def _judge(self, request: LoggedRequest) -> Case:
        segments = parse_path(request.path)
        if segments is None:
            return Case(reason=Reason.MALFORMED_TARGET)
        rule = self._policies.match(request.host, request.method, segments)
        if rule is None:
            return Case(reason=Reason.NO_MATCHING_RULE)
        if rule.is_public:
            return _passing(rule, next(iter(rule.allotments.values())).quotas)
        if not request.token:
            return Case(rule, Reason.MISSING_CREDENTIALS)
        if self._lacks_scope(request, rule):
            return Case(rule, Reason.INSUFFICIENT_SCOPE)
        plan = request.plan or (rule.policy.first_plan if self._plan is None else self._plan)
        allotment = rule.allotments.get(plan)
        if allotment is None or plan not in rule.permitted_plans:
            return Case(rule, Reason.INSUFFICIENT_PLAN)
        return _passing(rule, allotment.quotas)

    def _lacks_scope(self, request: LoggedRequest, rule: Rule) -> bool:
        """Return whether its token lacks a scope: as the log says it, unless the tokens' scopes are known."""
        known = self._scopes.get(request.token) if self._scopes else None
        if known is None:
            return request.reason == Reason.INSUFFICIENT_SCOPE
        return bool(lacking_scopes(rule, rule.policy.own_scopes(known)))

    def _charge(self, request: LoggedRequest, case: Case, rule: Rule, now: int) -> tuple[Verdict, Ask]:
        bearer = None if rule.is_public else request
        holders = [holder_of(quota.per, bearer, request.client) for quota in case.quotas]
        keys = [
            (case.policy, quota.per, holder, quota.counter) for quota, holder in zip(case.quotas, holders, strict=True)
        ]
        states = [self._states.get(key) for key in keys]
        self._number += 1
        lease = str(self._number) if rule.has_leases else ""
        taken = take(case.quotas, states, rule.cost.reserved, now, lease)
        cost, ends_at = self._end(request, rule, now)
        ask = Ask(case, holders, cost, ends_at)
        for key, state in zip(keys, taken.taken, strict=True):
            if state is not None:
                self._states[key] = state
        if taken.is_charged:
            units = rule.cost.reserved - cost
            if units or lease:
                counted = [index for index, state in enumerate(taken.taken) if state is not None]
                pending = _Pending(
                    [keys[one] for one in counted], [case.quotas[one] for one in counted], units, now, ends_at, lease
                )
                heappush(self._due, (ends_at, self._number, pending))
            if all(taken.fits):
                return PASSES, ask
        full = [quota for quota, fit in zip(case.quotas, taken.fits, strict=True) if not fit]
        refusing = tuple(quota for quota in full if not quota.is_shadow)
        shadow = tuple(quota for quota in full if quota.is_shadow)
        return Verdict(Reason.QUOTA_EXCEEDED if refusing else "", refusing, shadow), ask

    def _end(self, request: LoggedRequest, rule: Rule, now: int) -> tuple[int, int]:
        """Return what the request costs in the end, and when it ends."""
        text, was_refused = rule.pattern.text, request.reason == Reason.QUOTA_EXCEEDED
        count, mean = self._mean.get(text, (0, 0.0))
        if not was_refused:
            self._mean[text] = (count + 1, mean + (request.duration_seconds - mean) / (count + 1))
        seconds = mean if was_refused else request.duration_seconds
        return self._cost(request, rule, was_refused), now + round(seconds * 1000)

    @staticmethod
    def _cost(request: LoggedRequest, rule: Rule, was_refused: bool) -> int:
        if rule.cost.by_outcome is None:
            return rule.cost.reserved
        if was_refused:
            return rule.cost.by_outcome[Outcome.MISS]
        fields: list[Field] = [(b"cache-status", request.cache.encode("latin-1", "replace"))] if request.cache else []
        outcome = outcome_of(ResponseHead(request.status, fields), has_cache=rule.cache is not None)
        if outcome is Outcome.MISS and rule.cost.reported_by is not None and 0 < request.cost <= rule.cost.reserved:
            return request.cost
        return rule.cost.of(outcome, fields)

    def _settle(self, pending: "_Pending") -> None:
        """Give back what a request that has ended did not use."""
        states = [self._states.get(key) for key in pending.keys]
        if pending.units:
            states = [*refund(pending.quotas, states, pending.units, pending.charged_at, pending.ends_at)]
        if pending.lease:
            states = [*release(states, pending.lease)]
        self._states.update(zip(pending.keys, states, strict=True))


def _passing(rule: Rule, quotas: tuple[Quota, ...]) -> Case:
    return Case(rule, "", quotas, rule.policy.name, f"{rule.pattern.text} of {rule.policy.name}")


class _Pending(NamedTuple):
    keys: list[_Counter]
    quotas: list[Quota]
    units: int
    charged_at: int
    ends_at: int
    lease: str
