"""What a replay found: counted while it goes on, in memory that grows with tokens and quotas, and not with the log."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from gateway.core.http.reasons import Reason
from gateway.core.quotas.model import Quota
from gateway.core.simulation.ladder import SHARES, Ladder
from gateway.core.simulation.replay import Ask, Replay, Verdict
from gateway.core.simulation.requests import LoggedRequest
from gateway.core.tokens.records import build_time

T = TypeVar("T")

HOUR = 3_600_000
MOST_EXAMPLES = 20
"""Requests that would be newly refused, or newly pass, which are told one by one."""
MOST_BINS = 240
"""Parts of the log's time for which a quota's use is kept; if there are more, each becomes twice as long."""
FIRST_BIN = 1000
"""Milliseconds of the first part."""
PEAK_STEPS = 20
"""Parts of a quota into which the tokens' peaks are sorted; whoever asked for more is in the last."""


class Counts(msgspec.Struct):
    """Requests, and what became of them in the log (`now`) and under the candidate (`then`)."""

    requests: int = 0
    refused_now: int = 0
    refused_then: int = 0
    newly_refused: int = 0
    newly_passing: int = 0

    def grow(self, count: int, is_refused_now: bool, is_refused_then: bool) -> None:
        self.requests += count
        self.refused_now += count * is_refused_now
        self.refused_then += count * is_refused_then
        self.newly_refused += count * (is_refused_then and not is_refused_now)
        self.newly_passing += count * (is_refused_now and not is_refused_then)


class TokenCounts(Counts):
    """The same of one token."""

    name: str = ""
    plan: str = ""
    first: str = ""
    """When it was first newly refused; empty if it never was."""
    by_quota: dict[str, int] = {}
    """The quotas that newly refused it, and how often."""


class Example(msgspec.Struct, frozen=True):
    """A request whose verdict changes."""

    time: str
    token: str
    name: str
    request: str
    now: str
    then: str


class Needed(msgspec.Struct, frozen=True):
    """The smallest limits that refuse at most a share; None if none of the limits that were tried does."""

    share: float
    of_requests: int | None
    of_tokens: int | None


class Rise(msgspec.Struct, frozen=True):
    """One point of the curve of limit against refusals."""

    limit: int
    refused: int
    holders: int


class QuotaReport(msgspec.Struct, frozen=True):
    """One quota of a policy."""

    policy: str
    plans: tuple[str, ...]
    """Whose requests met it; empty for requests without a token."""
    name: str
    per: str
    limit: int
    window_seconds: int
    algorithm: str
    is_shadow: bool
    requests: int
    holders: int
    refused: int
    """Requests that it refuses; in shadow, that it would refuse."""
    holders_refused: int
    needed: tuple[Needed, ...]
    curve: tuple[Rise, ...]
    peaks: tuple[int, ...]
    """Holders by the most that they asked for, in PEAK_STEPS parts of the limit and one for all above it."""
    use: tuple[tuple[int, float, int], ...]
    """Unix milliseconds, the highest share of the limit that a holder had used, requests refused."""


class Report(msgspec.Struct, frozen=True):
    """All of it. The same numbers are in the tables, the page and the JSON."""

    begins: str
    ends: str
    total: Counts
    tokens: int
    tokens_newly_refused: int
    unread: int
    """Lines that are no records."""
    late: int
    """Records that came too late to be put in order."""
    reasons: Mapping[str, Counts]
    """Refusals by their reason, now and then."""
    plans: Mapping[str, Counts]
    rules: Mapping[str, Counts]
    quotas: tuple[QuotaReport, ...]
    by_token: Mapping[str, TokenCounts]
    """Those whose verdicts change, the most first."""
    newly_refused: tuple[Example, ...]
    newly_passing: tuple[Example, ...]
    hours: Mapping[str, Mapping[int, tuple[int, int]]]
    """Day, hour (UTC): requests, and those refused then."""


class _Quota:
    """What is known of one quota."""

    def __init__(self, quota: Quota) -> None:
        self.ladder = Ladder(quota)
        self.plans: set[str] = set()
        self.refused = 0
        self.holders: set[str] = set()
        self.width = FIRST_BIN
        self.bins: dict[int, list[float]] = {}

    def show_use(self, at: int, share: float, is_refused: bool, holder: str) -> None:
        if is_refused:
            self.refused += 1
            self.holders.add(holder)
        entry = self.bins.get(at // self.width)
        if entry is None:
            entry = self.bins[at // self.width] = [0.0, 0]
            if len(self.bins) > MOST_BINS:
                self._widen()
        entry[0] = max(entry[0], share)
        entry[1] += is_refused

    def _widen(self) -> None:
        self.width *= 2
        wider: dict[int, list[float]] = {}
        for number, (share, refused) in self.bins.items():
            entry = wider.setdefault(number // 2, [0.0, 0])
            entry[0] = max(entry[0], share)
            entry[1] += refused
        self.bins = wider


_QuotaKey = tuple[str, str, str, int, str]
"""The policy, and the quota's name, counter, limit and partition."""
_Kind = tuple[str, str, str, bool, bool]
"""Plan, rule, token, refused in the log, refused then."""


class Tally:
    """Replays requests, in their order, and counts what comes of them."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._first = self._last = 0
        self._kinds: dict[_Kind, int] = {}
        self._reasons: dict[str, Counts] = {}
        self._tokens: dict[str, TokenCounts] = {}
        self._quotas: dict[_QuotaKey, _Quota] = {}
        self._hours: dict[int, list[int]] = {}
        self._examples: dict[bool, list[Example]] = {True: [], False: []}
        self._names: dict[str, str] = {}

    def replay(self, request: LoggedRequest) -> Verdict:
        """Decide the next request, and count it."""
        verdict, ask = self._replay.decide(request)
        at = request.decided
        self._first, self._last = self._first or at, max(self._last, at)
        now, then = _refusal_of(request), verdict.reason
        kind = (request.plan, "" if ask is None else ask.case.name, request.token, bool(now), bool(then))
        known = self._kinds.get(kind)
        self._kinds[kind] = 1 if known is None else known + 1
        if now or then:
            self._note_refusal(request, verdict, now)
        if ask is not None:
            self._count_quotas(request, verdict, ask)
        if request.token not in self._names:
            self._names[request.token] = request.token_name
        hour = self._hours.get(at // HOUR)
        if hour is None:
            hour = self._hours[at // HOUR] = [0, 0]
        hour[0] += 1
        hour[1] += bool(then)
        return verdict

    def _note_refusal(self, request: LoggedRequest, verdict: Verdict, now: str) -> None:
        """Count reasons; of a verdict that changes, what it is to its token; and keep the first of them as examples."""
        then = verdict.reason
        if now:
            _of(self._reasons, now, Counts).refused_now += 1
        if then:
            _of(self._reasons, then, Counts).refused_then += 1
        if bool(now) == bool(then):
            return
        time = build_time(request.decided / 1000)
        if request.token:
            token = _of(self._tokens, request.token, TokenCounts)
            token.name, token.plan = request.token_name, request.plan
            if then:
                token.first = token.first or time
                for quota in verdict.quotas:
                    token.by_quota[quota.name] = token.by_quota.get(quota.name, 0) + 1
        examples = self._examples[bool(then)]
        if len(examples) < MOST_EXAMPLES:
            named = ", ".join(quota.name for quota in verdict.quotas)
            what = f"{request.method} {request.path}"
            told = f"{then} ({named})" if named else then
            examples.append(Example(time, request.token, request.token_name, what, now or "passes", told or "passes"))

    def _count_quotas(self, request: LoggedRequest, verdict: Verdict, ask: Ask) -> None:
        case, full = ask.case, (*verdict.quotas, *verdict.shadow)
        for quota, holder in zip(case.quotas, ask.holders, strict=True):
            key = _key_of(case.policy, quota)
            entry = self._quotas.get(key)
            if entry is None:
                entry = self._quotas[key] = _Quota(quota)
            if request.plan not in entry.plans:
                entry.plans.add(request.plan)
            share = entry.ladder.measure(holder, ask.cost, request.decided, ask.ends_at)
            entry.show_use(request.decided, share, quota in full, holder)

    def peaks(self, policy: str, quota: Quota) -> dict[str, int]:
        """Return the most that each holder asked a quota for at once; empty if no request met the quota."""
        found = self._quotas.get(_key_of(policy, quota))
        return dict(found.ladder.peaks()) if found else {}

    def name_of(self, token: str) -> str:
        """Return the name of a token in the log; empty if it has none."""
        return self._names.get(token, "")

    def report(self, unread: int = 0, late: int = 0) -> Report:
        """Return what was found by now."""
        total, plans, rules = Counts(), dict[str, Counts](), dict[str, Counts]()
        by_token = dict[str, Counts]()
        for (plan, rule, token, now, then), count in self._kinds.items():
            of_token = [_of(by_token, token, Counts)] if token else []
            for one in (total, _of(plans, plan, Counts), _of(rules, rule, Counts), *of_token):
                one.grow(count, now, then)
        for token, changed in self._tokens.items():
            for name in Counts.__struct_fields__:
                setattr(changed, name, getattr(by_token[token], name))
        days: dict[str, dict[int, tuple[int, int]]] = {}
        for hour, (requests, refused) in sorted(self._hours.items()):
            days.setdefault(build_time(hour * HOUR / 1000)[:10], {})[hour % 24] = (requests, refused)
        return Report(
            begins=build_time(self._first / 1000) if self._first else "",
            ends=build_time(self._last / 1000) if self._last else "",
            total=total,
            tokens=len(by_token),
            tokens_newly_refused=sum(1 for one in self._tokens.values() if one.newly_refused),
            unread=unread,
            late=late,
            reasons=dict(sorted(self._reasons.items())),
            plans=dict(sorted(plans.items())),
            rules=dict(sorted(rules.items())),
            quotas=tuple(_report(key[0], one) for key, one in sorted(self._quotas.items(), key=_by_name)),
            by_token=dict(
                sorted(self._tokens.items(), key=lambda item: (-item[1].newly_refused, -item[1].newly_passing))
            ),
            newly_refused=tuple(self._examples[True]),
            newly_passing=tuple(self._examples[False]),
            hours=days,
        )


def _key_of(policy: str, quota: Quota) -> _QuotaKey:
    return policy, quota.name, quota.counter, quota.limit, quota.per


def _by_name(item: tuple[_QuotaKey, _Quota]) -> tuple[object, ...]:
    return item[0][0], sorted(item[1].plans), item[0]


def _refusal_of(request: LoggedRequest) -> str:
    """Return why the gateway refused the request then; a backend's failure is no refusal."""
    return request.reason if request.reason in REFUSALS else ""


REFUSALS = frozenset(Reason) - {
    Reason.CLIENT_GONE,
    Reason.STOPPED,
    Reason.INTERNAL_ERROR,
    Reason.UPSTREAM_UNREACHABLE,
    Reason.UPSTREAM_BUSY,
    Reason.UPSTREAM_TIMEOUT,
    Reason.UPSTREAM_BROKEN,
    Reason.BROKEN_DOCUMENT,
    Reason.LOOP_DETECTED,
    Reason.NOT_STORED,
    Reason.PRECONDITION_FAILED,
    Reason.INVALID_OPTION,
}
"""Reasons that were found before the request was admitted: those after it have charged their quotas."""


def _of(table: dict[str, T], name: str, new: Callable[[], T]) -> T:
    found = table.get(name)
    if found is None:
        found = table[name] = new()
    return found


def _report(policy: str, found: _Quota) -> QuotaReport:
    ladder, quota = found.ladder, found.ladder.quota
    peaks = [0] * (PEAK_STEPS + 1)
    for _, peak in ladder.peaks():
        peaks[min(PEAK_STEPS, max(0, -(-peak * PEAK_STEPS // max(1, quota.capacity)) - 1))] += 1
    return QuotaReport(
        policy=policy,
        plans=tuple(sorted(found.plans)),
        name=quota.name,
        per=quota.per,
        limit=quota.limit,
        window_seconds=quota.window_seconds,
        algorithm=quota.algorithm,
        is_shadow=quota.is_shadow,
        requests=ladder.requests,
        holders=ladder.holders,
        refused=found.refused,
        holders_refused=len(found.holders),
        needed=tuple(
            Needed(share, ladder.smallest(share, of_holders=False), ladder.smallest(share, of_holders=True))
            for share in SHARES
        ),
        curve=tuple(Rise(rung.quota.limit, rung.refused, rung.holders) for rung in ladder.rungs),
        peaks=tuple(peaks),
        use=tuple(
            (number * found.width, share, int(refused)) for number, (share, refused) in sorted(found.bins.items())
        ),
    )
