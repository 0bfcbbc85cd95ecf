"""Compile the parts of a policy document that concern its rules, and find their mistakes.

These are `cache`, `etag`, how tokens are managed under a product's own paths, quotas, costs and scopes.

The grammar of quotas is that of the library `limits` ("100/minute", "5 per 2 hours", "1/second; 100/minute"), and so
are the names of the algorithms. It is repeated here, because importing it would cost each command a tenth of its time;
a test holds the two equal. A request has the quotas of the policy, of its token's plan and of its rule. Without a
token, under a public rule, it has only those of the policy and of the rule that are per address.

Rule: a name means one scope. An alias can be neither a scope of its own nor an alias of two.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from gateway.core.cache.keys import PARAMETER
from gateway.core.http.etags import BY_VALUE, TagRule, parse_ignored, split_pointer
from gateway.core.http.ratelimit_fields import build_ratelimit_policy
from gateway.core.policies.grammar import Binding
from gateway.core.policies.matching import Pattern, bind_parameters
from gateway.core.policies.model import (
    DEFAULT_MAPPING,
    FIELDS,
    NAMED,
    NO_PLAN,
    STATUSES,
    Allotment,
    CacheRule,
    Entitlement,
    Policy,
    Refusal,
    TokenApiMapping,
)
from gateway.core.policies.reading import Mistake, path_to, unknown_name
from gateway.core.policies.schema import CacheTable, CostTable, PolicyDocument, QuotaTable, RuleTable, ScopeTable
from gateway.core.quotas.algorithms import ALGORITHMS
from gateway.core.quotas.costs import Cost, Outcome
from gateway.core.quotas.model import (
    CONCURRENT,
    FIXED_WINDOW,
    LEASE_SECONDS,
    MAXIMUM_NUMBER,
    PARTITIONS,
    Quota,
    parse_duration,
)
from gateway.core.tokens.scopes import Bundle, Scope

Made = TypeVar("Made")


class CompileContext:
    """One document that is being compiled, and the mistakes found so far."""

    def __init__(self, document: PolicyDocument) -> None:
        self.document = document
        self.mistakes: list[Mistake] = []

    def attempt(self, path: str, make: Callable[[], Made]) -> Made | None:
        """Return what `make` returns; turn a ValueError into a mistake at `path` and None."""
        try:
            return make()
        except ValueError as error:
            self.mistakes.append(Mistake(path, str(error)))
            return None

    def check_names(self, kind: str, names: Iterable[str], known: Mapping[str, object], path: str) -> None:
        """Add a mistake for each of `names` that is not among `known`."""
        for index, name in enumerate(names):
            if name not in known:
                self.mistakes.append(Mistake(path_to(path, index), unknown_name(kind, name, known)))


def why_unbound(bound_to: Binding, what: str) -> str:
    """Return a mistake's text: why not every token of a policy has a project or an owner."""
    bound = "nothing" if bound_to == "none" else f"their {bound_to}"
    return f"the policy's tokens are bound to {bound} and need have no {what}"


def compile_cache(table: CacheTable, bound_to: Binding, *, is_public: bool) -> CacheRule:
    """Return the rule's cache. Saying how long answers are kept, or who shares them, also allows sharing them.

    If tokens are bound to nothing, they share with no other, unless the rule says so.
    """
    by_default: Entitlement = "token" if bound_to == "none" else bound_to
    stated = (table.fresh, table.stale_while_revalidate, table.stale_if_error, table.keep, table.heuristic)
    return CacheRule(
        fresh_seconds=_seconds(table.fresh),
        shared_by=table.shared_by or ("public" if is_public else by_default),
        stale_if_error_seconds=_seconds(table.stale_if_error),
        stale_while_revalidate_seconds=_seconds(table.stale_while_revalidate),
        keep_seconds=_seconds(table.keep),
        heuristic_seconds=_seconds(table.heuristic) or 0,
        groups=tuple(table.groups),
        passes_cache_control=table.client_cache_control == "backend",
        may_share=table.shared_by is not None or any(duration is not None for duration in stated),
    )


def cache_mistakes(
    table: CacheTable, pattern: Pattern, bound_to: Binding, *, is_public: bool, path: str
) -> Iterator[Mistake]:
    """Yield the mistakes of a `cache` table at `path`."""
    if is_public and table.shared_by not in (None, "public"):
        message = f"the requests of a public rule come without a token and have no {table.shared_by}"
        yield Mistake(f"{path}.shared_by", message)
    elif table.shared_by not in (None, "public", "token", bound_to):
        yield Mistake(f"{path}.shared_by", why_unbound(bound_to, table.shared_by))
    if table.fresh is not None and table.heuristic is not None:
        yield Mistake(f"{path}.heuristic", "with fresh given there is nothing to guess: drop one of them")
    known = bind_parameters(pattern, pattern.segments)
    for index, group in enumerate(table.groups):
        place = path_to(f"{path}.groups", index)
        for name in PARAMETER.findall(group):
            if name not in known:
                yield Mistake(place, unknown_name("parameter", name, known))
        if set("{}") & set(PARAMETER.sub("", group)):
            yield Mistake(place, f"{group!r}: braces are for a parameter of the path, such as tokenset-{{tokenset}}")


def _seconds(duration: str | None) -> int | None:
    return None if duration is None else parse_duration(duration)


class Attempt(Protocol):
    """Calls `make`; a ValueError becomes a mistake at `path`, and None is returned."""

    def __call__(self, path: str, make: Callable[[], Made]) -> Made | None: ...


def compile_tag_rule(table: RuleTable, path: str, attempt: Attempt) -> TagRule:
    """Return how the rule at `path` makes its entity tags."""
    if table.etag is None:
        return BY_VALUE
    path = f"{path}.etag"
    attempt(path, partial(_check_use, table))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for index, text in enumerate(table.etag.ignore):
        kind, name = attempt(path_to(f"{path}.ignore", index), partial(parse_ignored, text)) or ("", "")
        found[kind].append(name)
    return TagRule(
        replaces=table.etag.replace,
        pointers=tuple(map(split_pointer, found["pointer"])),
        columns=frozenset(found["column"]),
        lines=tuple(text.encode() for text in found["line"]),
        elements=frozenset(found["element"]),
        attributes=frozenset(found["attribute"]),
    )


def _check_use(table: RuleTable) -> None:
    if table.cache is None:
        raise ValueError("only what is cached gets a tag here: give the rule a cache table too")


def compile_mapping(context: CompileContext) -> TokenApiMapping:
    """Compile the mapping of the document, and find its mistakes."""
    table = context.document.management
    if table is None:
        return DEFAULT_MAPPING
    _check_names(context, "field", table.fields, dict.fromkeys(FIELDS), "$.management.fields")
    _check_names(context, "code", table.errors, STATUSES, "$.management.errors")
    for index, name in enumerate(table.integers):
        if name not in FIELDS:
            path = path_to("$.management.integers", index)
            context.mistakes.append(Mistake(path, unknown_name("field", name, dict.fromkeys(FIELDS))))
    if len(set(table.fields.values())) < len(table.fields):
        context.mistakes.append(Mistake("$.management.fields", "two fields have the same name"))
    return TokenApiMapping(
        fields=table.fields or DEFAULT_MAPPING.fields,
        integers=frozenset(table.integers),
        refusals={
            code: Refusal(refusal.status, msgspec.json.encode(refusal.content))
            for code, refusal in table.errors.items()
        },
    )


def find_token(context: CompileContext, pattern: Pattern, table: RuleTable, path: str) -> int | None:
    """Return the index of the path segment that names the token to manage, or None; find the mistakes of `manage`."""
    parameter, mistake = table.token, None
    if table.manage is None:
        mistake = "only a rule with manage is about a token in its path" if parameter else None
    elif table.public or table.cache or table.variants or table.etag:
        mistake = "a rule with manage is answered by the gateway: it can be neither public, cached nor shaped"
    elif (parameter is None) != (table.manage not in NAMED):
        mistake = f"manage = {table.manage!r} names {'its' if table.manage in NAMED else 'no'} token in the path"
    elif table.manage != "child" and context.document.token.bound_to == "none":
        mistake = f"manage = {table.manage!r} is about tokens of one project or owner: these are bound to neither"
    elif parameter is not None and parameter not in pattern.segments:
        mistake = f"the path of {pattern.text!r} has no parameter {parameter}"
    if mistake is not None:
        context.mistakes.append(Mistake(f"{path}.manage" if parameter is None else f"{path}.token", mistake))
        return None
    return None if parameter is None else pattern.segments.index(parameter)


def _check_names(
    context: CompileContext, kind: str, named: Mapping[str, object], known: Mapping[str, object], path: str
) -> None:
    for name in named:
        if name not in known:
            context.mistakes.append(Mistake(path_to(path, name), unknown_name(kind, name, known)))


QUOTA_NAME = re.compile(r"[a-z][a-z0-9_-]*")
"""A name that is valid as a String and as a Token of RFC 9651, because the draft may still change between them."""
_SEPARATOR = re.compile("[,;|]")
_LIMIT = re.compile(r"\s*([0-9]+)\s*(?:/|per)\s*([0-9]+)?\s*([a-z]+)\s*", re.IGNORECASE)
_DAY = 86400
GRANULARITIES = {"second": 1, "minute": 60, "hour": 3600, "day": _DAY, "month": 30 * _DAY, "year": 360 * _DAY}
"""Seconds of each unit of time."""


class Limit(NamedTuple):
    """One limit of a policy entry."""

    amount: int
    seconds: int
    granularity: str


def parse_limits(text: str) -> list[Limit]:
    """Return the limits of a text such as "1/second; 100 per 2 minutes". Raise ValueError for anything else."""
    limits = []
    for part in _SEPARATOR.split(text):
        match = _LIMIT.fullmatch(part)
        granularity = match[3].lower().removesuffix("s") if match else ""
        if match is None or granularity not in GRANULARITIES:
            raise ValueError(f"{part!r} is not a limit")
        multiple = int(match[2] or 1) or 1
        limits.append(Limit(int(match[1]), multiple * GRANULARITIES[granularity], granularity))
    return limits


def parse_quotas(name: str, text: str, algorithm: str = FIXED_WINDOW, burst: int | None = None) -> tuple[Quota, ...]:
    """Return the quotas of one policy entry. Raise ValueError that says what is wrong.

    Several limits in one text are named after their granularity: "1/second; 100/minute" under the name `pull` is
    `pull-second` and `pull-minute`.
    """
    _check_name(name)
    try:
        limits = parse_limits(text)
    except ValueError as error:
        raise ValueError(
            f'{text!r} is not a rate limit: write a number, "/" or "per", and second, minute, hour, day, month '
            'or year, such as "100/minute"'
        ) from error
    if any(max(limit.amount, limit.seconds) > MAXIMUM_NUMBER for limit in limits):
        raise ValueError(f"{text!r} is too much to count: neither number nor window may be above {MAXIMUM_NUMBER}")
    names = [name] if len(limits) == 1 else [f"{name}-{limit.granularity}" for limit in limits]
    if len(set(names)) < len(names):
        raise ValueError(f"{text!r} limits the same granularity twice: give each limit its own name")
    quotas = tuple(Quota(n, one.amount, one.seconds, algorithm) for n, one in zip(names, limits, strict=True))
    counted = ALGORITHMS[algorithm]
    if counted.has_burst:
        return tuple(_fill_bucket(quota, burst, len(quotas)) for quota in quotas)
    if burst is not None:
        bursting = " and ".join(name for name, one in ALGORITHMS.items() if one.has_burst)
        raise ValueError(f"burst is for {bursting} only, this is {algorithm}")
    if counted.maximum_limit is not None and any(quota.limit > counted.maximum_limit for quota in quotas):
        raise ValueError(
            f"{algorithm} counts limits up to {counted.maximum_limit} only: take another algorithm, such as "
            "sliding-window-counter"
        )
    return quotas


def _check_name(name: str) -> None:
    if QUOTA_NAME.fullmatch(name) is None:
        raise ValueError(f"the quota name {name!r} must match [a-z][a-z0-9_-]*")


def _fill_bucket(quota: Quota, burst: int | None, count: int) -> Quota:
    if burst is not None and count > 1:
        raise ValueError("burst is for one limit: give each limit its own name")
    if quota.limit == 0:
        raise ValueError("a token bucket that never fills admits nothing: its limit must be above 0")
    filled = msgspec.structs.replace(quota, burst=quota.limit if burst is None else burst)
    if filled.policy_window_seconds > MAXIMUM_NUMBER:
        raise ValueError(f"a burst of {burst} takes too long to fill at this limit: above {MAXIMUM_NUMBER} seconds")
    return filled


def compile_quotas(
    context: CompileContext, table: Mapping[str, str | QuotaTable], path: str, allotted_by: str = ""
) -> dict[str, Quota]:
    """Return the quotas of one table by name; `allotted_by` is the pattern of the rule that they are for, if any."""
    bound_to, quotas = context.document.token.bound_to, dict[str, Quota]()
    for name, entry in table.items():
        one = QuotaTable(limit=entry) if isinstance(entry, str) else entry
        if one.per in ("owner", "project") and one.per != bound_to:
            context.mistakes.append(Mistake(f"{path_to(path, name)}.per", why_unbound(bound_to, one.per)))
        for quota in context.attempt(path_to(path, name), partial(_parse_entry, name, one)) or ():
            if quota.name in quotas:
                context.mistakes.append(Mistake(path_to(path, name), f"another quota is named {quota.name!r} already"))
            quotas[quota.name] = msgspec.structs.replace(quota, per=one.per, is_shadow=one.shadow, rule=allotted_by)
    return quotas


def _parse_entry(name: str, entry: QuotaTable) -> tuple[Quota, ...]:
    if (entry.limit is None) == (entry.concurrent is None):
        raise ValueError("write one of limit and concurrent")
    if entry.limit is not None:
        return parse_quotas(name, entry.limit, entry.algorithm or FIXED_WINDOW, entry.burst)
    if entry.algorithm is not None or entry.burst is not None:
        raise ValueError("concurrent counts the requests in flight: it has no algorithm and no burst")
    _check_name(name)
    return (Quota(name, entry.concurrent or 0, LEASE_SECONDS, CONCURRENT),)


def compile_cost(table: int | CostTable) -> Cost:
    """Compile what requests cost. An outcome that is not named costs as much as a miss."""
    if isinstance(table, int):
        return Cost(table)
    units = {outcome: getattr(table, outcome) for outcome in Outcome}
    by_outcome = {outcome: table.miss if said is None else said for outcome, said in units.items()}
    reported_by = table.reported_by.lower().encode() if table.reported_by else None
    return Cost(max(by_outcome.values()), by_outcome, reported_by)


def compile_rule_quotas(context: CompileContext) -> tuple[Quota, ...]:
    """Return the quotas of all rules that are for one rule each."""
    tables = enumerate(context.document.rules)
    paths = ((f"{path_to('$.rules', index)}.quotas", table) for index, table in tables)
    return tuple(q for path, table in paths for q in compile_quotas(context, table.quotas, path, table.match).values())


def allot(quotas: Iterable[Quota]) -> Allotment:
    """Return the allotment of quotas, sorted by partition: that is the order of the script's answer."""
    ordered = tuple(sorted(quotas, key=lambda quota: PARTITIONS.index(quota.per)))
    return Allotment(ordered, build_ratelimit_policy(ordered))


def allot_for_rule(
    context: CompileContext, policy: Policy, table: RuleTable, path: str, pattern: str
) -> dict[str, Allotment]:
    """Return the quotas of a rule's requests by plan; for a public rule only those that count addresses."""
    own = [quota for quota in policy.rule_quotas if quota.rule == pattern]
    _check_own(context, policy, table, own, path)
    if table.public:
        return {NO_PLAN: allot([*(quota for quota in policy.quotas if quota.per == "address"), *own])}
    return {name: allot([*plan.quotas, *own]) for name, plan in policy.plans.items()}


def check_cost(context: CompileContext, allotments: Iterable[Allotment], reserved: int, path: str) -> None:
    """Add a mistake for each quota that a request's cost can never fit into."""
    quotas = dict.fromkeys(quota for allotment in allotments for quota in allotment.quotas if not quota.is_shadow)
    for quota in quotas:
        if 0 < quota.capacity < quota.units_of(reserved):
            message = f"{reserved} never fits into the quota {quota.name!r} of {quota.capacity}"
            context.mistakes.append(Mistake(f"{path}.cost", message))


def _check_own(context: CompileContext, policy: Policy, table: RuleTable, own: Iterable[Quota], path: str) -> None:
    known = {quota.name for quotas in (policy.quotas, *(p.quotas for p in policy.plans.values())) for quota in quotas}
    for quota in own:
        name, other = quota.name, next(one for one in policy.rule_quotas if one.name == quota.name)
        if name in known:
            message = f"a quota of all rules is named {name!r} already"
        elif msgspec.structs.replace(other, rule=quota.rule) != quota:
            message = f"{name!r} means another quota in the rule {other.rule!r}: give one of them another name"
        elif table.public and quota.per != "address":
            message = 'a public rule asks for no token, so its requests can only be counted per = "address"'
        else:
            continue
        context.mistakes.append(Mistake(path_to(f"{path}.quotas", name), message))


def compile_names(context: CompileContext) -> dict[str, str]:
    """Map every name of a scope, aliases included, to its own name; a taken alias is a mistake."""
    scopes = context.document.scopes
    names = {name: name for name in scopes}
    for name, table in scopes.items():
        for index, alias in enumerate([] if isinstance(table, str) else table.aliases):
            if alias in names:
                taken = "a scope itself" if alias in scopes else f"an alias of {names[alias]!r} already"
                path = path_to(path_to("$.scopes", name) + ".aliases", index)
                context.mistakes.append(Mistake(path, f"{alias!r} is {taken}"))
            else:
                names[alias] = name
    return names


def compile_scopes(context: CompileContext, names: Mapping[str, str]) -> dict[str, Scope]:
    """Return the policy's scopes by their own names."""
    compiled = {}
    for name, text_or_table in context.document.scopes.items():
        table = ScopeTable(description=text_or_table) if isinstance(text_or_table, str) else text_or_table
        category, colon, _ = name.partition(":")
        compiled[name] = Scope(
            table.description,
            own_names(context, table.implies, names, path_to("$.scopes", name) + ".implies"),
            table.category or (category if colon else ""),
            tuple(table.aliases),
        )
    return compiled


def compile_bundles(context: CompileContext, names: Mapping[str, str]) -> dict[str, Bundle]:
    """Return the policy's bundles by name."""
    return {
        name: Bundle(table.description, own_names(context, table.scopes, names, path_to("$.bundles", name) + ".scopes"))
        for name, table in context.document.bundles.items()
    }


def own_names(context: CompileContext, named: Iterable[str], names: Mapping[str, str], path: str) -> tuple[str, ...]:
    """Return the scopes that are `named`, each once and by its own name. An unknown name is a mistake and left out."""
    listed = list(named)
    context.check_names("scope", listed, names, path)
    return tuple(dict.fromkeys(names[name] for name in listed if name in names))
