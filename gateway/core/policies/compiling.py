"""Turns policy documents into the policy set that requests meet, and finds every mistake of their meaning."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from gateway.core.durations import parse_duration
from gateway.core.fields import build_ratelimit_policy
from gateway.core.forwarding import is_reserved
from gateway.core.policies.document import (
    CacheTable,
    PlanTable,
    PolicyDocument,
    QuotaTable,
    RuleTable,
    ScopeTable,
    UpstreamTable,
)
from gateway.core.policies.matching import Matcher, Pattern, parse_pattern
from gateway.core.policies.reading import Mistake, path_to, unknown_name
from gateway.core.policies.rules import CacheRule, CredentialSource, Plan, Policy, PolicySet, Rule, Upstream
from gateway.core.policies.terms import encode_terms
from gateway.core.policies.variants import compile_variants
from gateway.core.problems import PROBLEMS
from gateway.core.quotas import Quota, parse_quotas
from gateway.core.reasons import Reason
from gateway.core.scopes import Scope, granting, implied_by
from gateway.core.tokens import CHECKSUM_LENGTH, MINIMUM_RANDOM_LENGTH, TokenFormat

NO_PLAN = ""
"""The plan of tokens in a policy that has none."""

DIALECT_KEYS = sorted({str(problem.status) for problem in PROBLEMS.values()} | set(map(str, Reason)))
"""What a policy's `[errors]` may answer in its own way."""

Made = TypeVar("Made")


class _Draft:
    """One document on its way: what was made of it so far and the mistakes met."""

    def __init__(self, file: str, document: PolicyDocument) -> None:
        self.file = file
        self.document = document
        self.mistakes: list[Mistake] = []

    def attempt(self, path: str, make: Callable[[], Made]) -> Made | None:
        """What `make` returns; a ValueError becomes a mistake at `path` and None."""
        try:
            return make()
        except ValueError as error:
            self.mistakes.append(Mistake(path, str(error)))
            return None

    def check_names(self, kind: str, names: Iterable[str], known: Mapping[str, object], path: str) -> None:
        """Notes each of `names` that is not among `known`."""
        for index, name in enumerate(names):
            if name not in known:
                self.mistakes.append(Mistake(path_to(path, index), unknown_name(kind, name, known)))


def compile_policies(
    documents: Mapping[str, PolicyDocument], upstreams: Mapping[str, str]
) -> tuple[PolicySet, dict[str, list[Mistake]]]:
    """The set of all documents (file name to document), and the mistakes of each file; with any, the set is no use."""
    drafts = [_Draft(file, document) for file, document in documents.items()]
    policies: dict[str, Policy] = {}
    matchers: dict[str | None, Matcher[Rule]] = {}
    for draft in drafts:
        policy = _compile_policy(draft, upstreams)
        if policy.name in policies:
            draft.mistakes.append(Mistake("$.name", f"another file has a policy named {policy.name!r} already"))
        policies[policy.name] = policy
        for index, table in enumerate(draft.document.rules):
            rule = _compile_rule(draft, policy, table, path_to("$.rules", index))
            if rule is not None:
                _add_rule(draft, matchers, rule, path_to(path_to("$.rules", index), "match"))
    return PolicySet(policies, matchers), {draft.file: draft.mistakes for draft in drafts}


def _compile_policy(draft: _Draft, upstreams: Mapping[str, str]) -> Policy:
    document = draft.document
    scopes = {name: _compile_scope(table) for name, table in document.scopes.items()}
    for name, scope in scopes.items():
        draft.check_names("scope", scope.implies, scopes, path_to("$.scopes", name) + ".implies")
    for key in document.errors:
        if key not in DIALECT_KEYS:
            draft.mistakes.append(
                Mistake(path_to("$.errors", key), unknown_name("status or reason", key, DIALECT_KEYS))
            )
    known_implications = {
        name: Scope(scope.description, tuple(s for s in scope.implies if s in scopes)) for name, scope in scopes.items()
    }
    return Policy(
        name=document.name,
        hosts=tuple(document.hosts or ()),
        upstream=_compile_upstream(draft, upstreams.get(document.name)),
        token_format=_compile_token_format(draft),
        credentials=tuple(_compile_credentials(draft)),
        bound_to=document.token.bound_to,
        scopes=known_implications,
        scope_grants=granting(known_implications),
        plans=_compile_plans(draft, scopes),
        last_used_resolution_seconds=parse_duration(document.token.last_used_resolution),
        errors={key: msgspec.json.encode(content) for key, content in document.errors.items()},
        rule_count=len(document.rules),
        test_count=len(document.tests),
    )


def _compile_scope(table: str | ScopeTable) -> Scope:
    return Scope(table) if isinstance(table, str) else Scope(table.description, tuple(table.implies))


def _compile_upstream(draft: _Draft, replacement: str | None) -> Upstream:
    upstream = draft.document.upstream
    table = UpstreamTable(url=upstream) if isinstance(upstream, str) else upstream
    url = (replacement or table.url).rstrip("/")
    draft.attempt("$.upstream", lambda: (urlsplit(url).port, url.encode("ascii")))
    return Upstream(
        url=url,
        connect_timeout_seconds=parse_duration(table.connect_timeout),
        response_timeout_seconds=parse_duration(table.response_timeout),
    )


def _compile_token_format(draft: _Draft) -> TokenFormat:
    table = draft.document.token
    least = MINIMUM_RANDOM_LENGTH + (CHECKSUM_LENGTH if table.checksum else 0)
    if table.length < least:
        message = f"160 random bits need at least {least} characters after the prefix, this has {table.length}"
        draft.mistakes.append(Mistake("$.token.length", message))
    return TokenFormat(tuple(table.prefixes), table.length, table.checksum, table.shown)


def _compile_credentials(draft: _Draft) -> Iterator[CredentialSource]:
    credential = draft.document.token.credential
    sources = [credential] if isinstance(credential, str) else credential
    if len({source.lower() for source in sources}) < len(sources):
        draft.mistakes.append(Mistake("$.token.credential", "the same credential is listed twice"))
    for source in sources:
        kind, _, field = source.partition(":")
        if source == "bearer":
            yield CredentialSource(b"authorization", is_bearer=True)
        elif (kind == "header" and is_reserved(field.lower().encode())) or field.lower() == "authorization":
            draft.mistakes.append(Mistake("$.token.credential", f"{field} cannot carry a credential of its own"))
        elif kind == "header" and field.replace("-", "").isalnum() and field.isascii():
            yield CredentialSource(field.lower().encode(), is_bearer=False)
        else:
            message = f'{source!r} is no credential: write "bearer" or "header:NAME", such as "header:X-API-Key"'
            draft.mistakes.append(Mistake("$.token.credential", message))


def _compile_plans(draft: _Draft, scopes: Mapping[str, Scope]) -> dict[str, Plan]:
    shared = _compile_quotas(draft, draft.document.quotas, "$.quotas")
    plans = {}
    for name, table in (draft.document.plans or {NO_PLAN: PlanTable()}).items():
        path = path_to("$.plans", name)
        draft.check_names("scope", table.scopes or (), scopes, f"{path}.scopes")
        held = None if table.scopes is None else _holding(table.scopes, scopes)
        quotas = tuple((shared | _compile_quotas(draft, table.quotas, f"{path}.quotas")).values())
        plans[name] = Plan(held, quotas, build_ratelimit_policy(quotas))
    return plans


def _compile_quotas(draft: _Draft, table: Mapping[str, str | QuotaTable], path: str) -> dict[str, Quota]:
    quotas: dict[str, Quota] = {}
    for name, entry in table.items():
        one = QuotaTable(limit=entry) if isinstance(entry, str) else entry
        parse = partial(parse_quotas, name, one.limit, one.algorithm, one.burst)
        for quota in draft.attempt(path_to(path, name), parse) or ():
            if quota.name in quotas:
                draft.mistakes.append(Mistake(path_to(path, name), f"another quota is named {quota.name!r} already"))
            quotas[quota.name] = quota
    return quotas


def _holding(names: Iterable[str], scopes: Mapping[str, Scope]) -> frozenset[str]:
    return frozenset[str]().union(*(implied_by(name, scopes) for name in names))


def _compile_rule(draft: _Draft, policy: Policy, table: RuleTable, path: str) -> Rule | None:
    draft.check_names("scope", table.scopes, policy.scopes, f"{path}.scopes")
    pattern = draft.attempt(f"{path}.match", partial(parse_pattern, table.match))
    if pattern is None:
        return None
    scopes = tuple(scope for scope in table.scopes if scope in policy.scopes)
    _check_rule(draft, policy, table, path)
    rule = Rule(
        policy=policy,
        pattern=pattern,
        scopes=scopes,
        granting=tuple(policy.scope_grants[scope] for scope in scopes),
        permitted_plans=frozenset(name for name, plan in policy.plans.items() if plan.covers(scopes)),
        cost=table.cost,
        cache=None if table.cache is None else _compile_cache(policy, table.cache, is_public=table.public),
        is_public=table.public,
        project_segment=_find_project(draft, pattern, table.project, f"{path}.project"),
        variants=compile_variants(table.variants, pattern, f"{path}.variants", draft.mistakes),
    )
    return msgspec.structs.replace(rule, terms=encode_terms(rule))


def _check_rule(draft: _Draft, policy: Policy, table: RuleTable, path: str) -> None:
    for plan in policy.plans.values():
        for quota in plan.quotas:
            if 0 < quota.capacity < table.cost:
                message = f"{table.cost} never fits into the quota {quota.name!r} of {quota.capacity}"
                draft.mistakes.append(Mistake(f"{path}.cost", message))
    if table.public and (table.scopes or table.project):
        message = "a public rule asks for no token, so it can ask for no scopes and no project of one"
        draft.mistakes.append(Mistake(f"{path}.public", message))
    if table.public and table.cache and table.cache.shared_by not in (None, "public"):
        message = f"the requests of a public rule come without a token and have no {table.cache.shared_by}"
        draft.mistakes.append(Mistake(f"{path}.cache.shared_by", message))
    elif table.cache and table.cache.shared_by not in (None, "public", "token", policy.bound_to):
        message = f"the policy's tokens are bound to their {policy.bound_to} and need have no {table.cache.shared_by}"
        draft.mistakes.append(Mistake(f"{path}.cache.shared_by", message))


def _find_project(draft: _Draft, pattern: Pattern, parameter: str | None, path: str) -> int | None:
    if parameter is None or parameter in pattern.segments:
        return None if parameter is None else pattern.segments.index(parameter)
    draft.mistakes.append(Mistake(path, f"the path of {pattern.text!r} has no parameter {parameter}"))
    return None


def _compile_cache(policy: Policy, table: CacheTable, *, is_public: bool) -> CacheRule:
    fresh = None if table.fresh is None else parse_duration(table.fresh)
    stale_if_error = 0 if table.stale_if_error is None else parse_duration(table.stale_if_error)
    return CacheRule(fresh, table.shared_by or ("public" if is_public else policy.bound_to), stale_if_error)


def _add_rule(draft: _Draft, matchers: dict[str | None, Matcher[Rule]], rule: Rule, path: str) -> None:
    for host in rule.policy.hosts or (None,):
        other = matchers.setdefault(host, Matcher()).add(rule.pattern, rule)
        if other is not None:
            message = f"{rule.pattern.text!r} and {other.pattern.text!r} of {other.policy.name} match the same requests"
            draft.mistakes.append(Mistake(path, message))
            return
