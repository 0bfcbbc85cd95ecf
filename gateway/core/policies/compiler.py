"""Compile policy documents to the policy set that requests meet, and find every mistake of their meaning."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import msgspec

from gateway.core.http.problems import PROBLEMS
from gateway.core.http.reasons import Reason
from gateway.core.own_addresses import OwnAddresses
from gateway.core.policies.compile_rules import (
    CompileContext,
    allot_for_rule,
    cache_mistakes,
    check_cost,
    compile_bundles,
    compile_cache,
    compile_cost,
    compile_mapping,
    compile_names,
    compile_quotas,
    compile_rule_quotas,
    compile_scopes,
    compile_tag_rule,
    find_token,
    own_names,
)
from gateway.core.policies.compile_upstreams import compile_times, compile_upstream
from gateway.core.policies.compile_variants import compile_variants
from gateway.core.policies.matching import Matcher, Pattern, parse_pattern
from gateway.core.policies.model import (
    NO_PLAN,
    CredentialSource,
    Plan,
    Policy,
    PolicySet,
    Rule,
    Scheme,
)
from gateway.core.policies.reaching import find_obstacle
from gateway.core.policies.reading import Mistake, path_to, unknown_name
from gateway.core.policies.schema import (
    CacheTable,
    PlanTable,
    PolicyDocument,
    RuleTable,
)
from gateway.core.policies.script_rules import encode_script_rule
from gateway.core.policies.versions import version_of
from gateway.core.quotas.model import Quota, parse_duration
from gateway.core.tokens.credentials import credential_fields
from gateway.core.tokens.scopes import Scope, granting, implied_by
from gateway.core.tokens.text import CHECKSUM_LENGTH, MINIMUM_RANDOM_LENGTH, TokenFormat
from gateway.core.trust.compiling import compile_trusts
from gateway.core.upstream.client_fields import is_identity, is_set_by_gateway

DIALECT_KEYS = sorted({str(problem.status) for problem in PROBLEMS.values()} | set(map(str, Reason)))
"""The statuses and reasons that a policy's `[errors]` may answer in its own way."""
DEFAULT_SHOWN = 12
"""Characters of a token's text kept for display: enough to distinguish two, too few to guess the rest."""


class Compiled(NamedTuple):
    """The result of compiling one document, independently of the others."""

    policy: Policy
    rules: tuple[tuple[str, Rule], ...]
    """With the paths of their `match`."""
    mistakes: tuple[Mistake, ...]


class _Tree(NamedTuple):
    """The rules of one host, or of any host."""

    parts: list[tuple[str, Compiled]]
    """The files that the rules come from."""
    matcher: Matcher[Rule]
    depth: int
    """The largest number of segments in a pattern."""
    mistakes: list[tuple[str, Mistake]]


class _Reach(NamedTuple):
    """The unreachable rules of a document, found in the trees of its hosts."""

    one: Compiled
    trees: list[_Tree]
    mistakes: list[Mistake]


def find_credential_fields(documents: Iterable[PolicyDocument]) -> frozenset[bytes]:
    """Return the fields that can hold a token of any of the documents' policies."""
    contexts = [CompileContext(document) for document in documents]  # their mistakes are found when each is compiled
    return credential_fields(source for context in contexts for source in _compile_credentials(context))


def compile_document(
    document: PolicyDocument, upstreams: Mapping[str, str], credential_fields: frozenset[bytes]
) -> Compiled:
    """Compile one document alone; `upstreams` replaces its backend by the policy's name.

    `credential_fields` are those of the whole set: none of them reaches a backend.
    """
    context = CompileContext(document)
    policy = _compile_policy(context, upstreams, credential_fields)
    rules: list[tuple[str, Rule]] = []
    for index, table in enumerate(document.rules):
        path = path_to("$.rules", index)
        rule = _compile_rule(context, policy, table, path)
        if rule is not None:
            rules.append((path_to(path, "match"), rule))
    return Compiled(policy, tuple(rules), tuple(context.mistakes))


class Joining:
    """Joins compiled documents to policy sets, one set after the other.

    A host's rules are ordered again only if one of its documents differs from the set before.
    """

    def __init__(self, own: OwnAddresses | None) -> None:
        self._own = own
        self._trees: dict[str | None, _Tree] = {}
        self._reaches: dict[str, _Reach] = {}

    def join(self, compiled: Mapping[str, Compiled]) -> tuple[PolicySet, dict[str, list[Mistake]]]:
        """Return the set of all, and the mistakes of each file; with any mistake, the set must not be used."""
        mistakes = {file: list(one.mistakes) for file, one in compiled.items()}
        policies: dict[str, Policy] = {}
        parts: dict[str | None, list[tuple[str, Compiled]]] = {}
        for file, one in compiled.items():
            name = one.policy.name
            if name in policies:
                mistakes[file].append(Mistake("$.name", f"another file has a policy named {name!r} already"))
            policies[name] = one.policy
            for host in one.policy.hosts or (None,):
                parts.setdefault(host, []).append((file, one))
        self._trees = {host: self._find_tree(host, part) for host, part in parts.items()}
        for tree in self._trees.values():
            for file, mistake in tree.mistakes:
                if mistake.path not in [other.path for other in mistakes[file]]:  # one host of a rule is enough
                    mistakes[file].append(mistake)
        self._reaches = {file: self._find_reach(file, one) for file, one in compiled.items()}
        for file, reach in self._reaches.items():
            mistakes[file] += reach.mistakes
        rules = {one.policy.name: [rule for _, rule in one.rules] for one in compiled.values()}
        return PolicySet(policies, {host: tree.matcher for host, tree in self._trees.items()}, rules), mistakes

    def _find_tree(self, host: str | None, parts: list[tuple[str, Compiled]]) -> _Tree:
        before = self._trees.get(host)
        if before is not None and [id(one) for _, one in before.parts] == [id(one) for _, one in parts]:
            return before
        depth = max((len(rule.pattern.segments) for _, one in parts for _, rule in one.rules), default=0)
        tree = _Tree(parts, Matcher(), depth, [])
        for file, one in parts:
            for path, rule in one.rules:
                other = tree.matcher.add(rule.pattern, rule)
                if other is not None:
                    both = f"{rule.pattern.text!r} and {other.pattern.text!r} of {other.policy.name}"
                    tree.mistakes.append((file, Mistake(path, f"{both} match the same requests")))
        return tree

    def _find_reach(self, file: str, one: Compiled) -> _Reach:
        trees = [self._trees[host] for host in one.policy.hosts or (None,)]
        before = self._reaches.get(file)
        if before is not None and before.one is one and list(map(id, before.trees)) == list(map(id, trees)):
            return before
        known = {mistake.path for tree in trees for other, mistake in tree.mistakes if other == file}
        own = self._own if one.policy.upstream.targets else None
        matchers, depth = [tree.matcher for tree in trees], max(tree.depth for tree in trees)
        reach = _Reach(one, trees, [])
        for path, rule in one.rules:
            obstacle = None if path in known else find_obstacle(rule, rule.pattern, matchers, own, depth)
            if obstacle:
                message = f"no request reaches {rule.pattern.text!r}: {obstacle}"
                reach.mistakes.append(Mistake(path, message))
        return reach


def _compile_policy(
    context: CompileContext, upstreams: Mapping[str, str], credential_fields: frozenset[bytes]
) -> Policy:
    document = context.document
    names = compile_names(context)
    scopes = compile_scopes(context, names)
    for key in document.errors:
        if key not in DIALECT_KEYS:
            context.mistakes.append(
                Mistake(path_to("$.errors", key), unknown_name("status or reason", key, DIALECT_KEYS))
            )
    quotas = compile_quotas(context, document.quotas, "$.quotas")
    return Policy(
        name=document.name,
        hosts=tuple(document.hosts or ()),
        upstream=compile_upstream(document.upstream, upstreams.get(document.name), context.mistakes.append),
        token_format=_compile_token_format(context),
        credentials=tuple(_compile_credentials(context)),
        bound_to=document.token.bound_to,
        has_known_owners=document.token.known_owners,
        parent_scope=_find_scope(context, names, "parent_scope", document.token.parent_scope),
        sign_in_scope=_find_scope(context, names, "sign_in_scope", document.token.sign_in_scope),
        scopes=scopes,
        scope_names=names,
        scope_grants=granting(scopes),
        bundles=compile_bundles(context, names),
        plans=_compile_plans(context, scopes, names, quotas),
        last_used_resolution_seconds=parse_duration(document.token.last_used_resolution),
        errors={key: msgspec.json.encode(content) for key, content in document.errors.items()},
        rule_count=len(document.rules),
        test_count=len(document.tests),
        has_cache=any(rule.cache or rule.variants for rule in document.rules),
        quotas=tuple(quotas.values()),
        rule_quotas=compile_rule_quotas(context),
        has_unique_names=document.token.unique_names,
        has_numbers=document.token.numbers,
        version=version_of(document),
        has_own_plans=_find_own_plans(context),
        explains_refusals=document.explain_refusals,
        revokes_leaked=document.on_leak == "revoke",
        management=compile_mapping(context),
        trusts=compile_trusts(context, names),
        credential_fields=credential_fields,
    )


def _compile_token_format(context: CompileContext) -> TokenFormat:
    table = context.document.token
    least = MINIMUM_RANDOM_LENGTH + (CHECKSUM_LENGTH if table.checksum else 0)
    if table.length < least:
        message = f"160 random bits need at least {least} characters after the prefix, this has {table.length}"
        context.mistakes.append(Mistake("$.token.length", message))
    if table.shown is not None and table.shown_random is not None:
        context.mistakes.append(Mistake("$.token", "write one of shown and shown_random"))
    shown = DEFAULT_SHOWN if table.shown is None else table.shown
    return TokenFormat(tuple(table.prefixes), table.length, table.checksum, shown, table.shown_random)


def _find_own_plans(context: CompileContext) -> bool:
    if context.document.token.own_plans and not context.document.plans:
        context.mistakes.append(Mistake("$.token.own_plans", "the policy has no plans that a token could have"))
    return context.document.token.own_plans


def _find_scope(context: CompileContext, names: Mapping[str, str], key: str, scope: str | None) -> str:
    """Return the own name of the scope that a key of `[token]` names; empty if it names none."""
    if scope is not None and scope not in names:
        context.mistakes.append(Mistake(f"$.token.{key}", unknown_name("scope", scope, names)))
    return names.get(scope or "", "")


def _compile_credentials(context: CompileContext) -> Iterator[CredentialSource]:
    credential = context.document.token.credential
    sources = [credential] if isinstance(credential, str) else credential
    if len({source.lower() for source in sources}) < len(sources):
        context.mistakes.append(Mistake("$.token.credential", "the same credential is listed twice"))
    for source in sources:
        kind, _, field = source.partition(":")
        if source in ("bearer", "basic"):
            yield CredentialSource(b"authorization", Scheme(source))
        elif (kind == "header" and is_set_by_gateway(field.lower().encode())) or field.lower() == "authorization":
            context.mistakes.append(Mistake("$.token.credential", f"{field} cannot carry a credential of its own"))
        elif kind == "header" and field.replace("-", "").isalnum() and field.isascii():
            yield CredentialSource(field.lower().encode(), Scheme.BARE)
        else:
            message = (
                f'{source!r} is no credential: write "bearer", "basic" or "header:NAME", such as "header:X-API-Key"'
            )
            context.mistakes.append(Mistake("$.token.credential", message))


def _compile_plans(
    context: CompileContext, scopes: Mapping[str, Scope], names: Mapping[str, str], shared: Mapping[str, Quota]
) -> dict[str, Plan]:
    plans = {}
    for name, table in (context.document.plans or {NO_PLAN: PlanTable()}).items():
        path = path_to("$.plans", name)
        own = own_names(context, table.scopes or (), names, f"{path}.scopes")
        held = None if table.scopes is None else _holding(own, scopes)
        quotas = {**shared, **compile_quotas(context, table.quotas, f"{path}.quotas")}
        plans[name] = Plan(held, tuple(quotas.values()))
    return plans


def _holding(names: Iterable[str], scopes: Mapping[str, Scope]) -> frozenset[str]:
    return frozenset[str]().union(*(implied_by(name, scopes) for name in names))


def _compile_rule(context: CompileContext, policy: Policy, table: RuleTable, path: str) -> Rule | None:
    scopes = own_names(context, table.scopes, policy.scope_names, f"{path}.scopes")
    pattern = context.attempt(f"{path}.match", partial(parse_pattern, table.match))
    if pattern is None:
        return None
    _check_rule(context, table, path)
    cache = CacheTable() if table.cache is None and table.variants is not None else table.cache
    if cache is not None:
        mistakes = cache_mistakes(cache, pattern, policy.bound_to, is_public=table.public, path=f"{path}.cache")
        context.mistakes.extend(mistakes)
    cost, allotments = compile_cost(table.cost), allot_for_rule(context, policy, table, path, pattern.text)
    check_cost(context, allotments.values(), cost.reserved, path)
    rule = Rule(
        policy=policy,
        pattern=pattern,
        scopes=scopes,
        granting=tuple(policy.scope_grants[scope] for scope in scopes),
        permitted_plans=frozenset(name for name, plan in policy.plans.items() if plan.covers(scopes)),
        cost=cost,
        cache=None if cache is None else compile_cache(cache, policy.bound_to, is_public=table.public),
        upstream=compile_times(table, policy.upstream, path, context.mistakes.append),
        is_public=table.public,
        project_segment=_find_project(context, pattern, table.project, f"{path}.project"),
        allotments=allotments,
        has_leases=any(quota.is_concurrency for one in allotments.values() for quota in one.quotas),
        counts_addresses=any(quota.per == "address" for one in allotments.values() for quota in one.quotas),
        etag=compile_tag_rule(table, path, context.attempt),
        variants=compile_variants(table.variants, pattern, f"{path}.variants", context.mistakes),
        manage=table.manage,
        token_segment=find_token(context, pattern, table, path),
    )
    return msgspec.structs.replace(rule, script_rule=encode_script_rule(rule))


def _check_rule(context: CompileContext, table: RuleTable, path: str) -> None:
    reported_by = getattr(table.cost, "reported_by", None)
    if reported_by and is_identity(reported_by.encode()):
        message = f"{reported_by} is the gateway's to say: backends' answers lose it first"
        context.mistakes.append(Mistake(f"{path}.cost.reported_by", message))
    if table.public and (table.scopes or table.project):
        message = "a public rule asks for no token, so it can ask for no scopes and no project of one"
        context.mistakes.append(Mistake(f"{path}.public", message))


def _find_project(context: CompileContext, pattern: Pattern, parameter: str | None, path: str) -> int | None:
    if parameter is None or parameter in pattern.segments:
        return None if parameter is None else pattern.segments.index(parameter)
    context.mistakes.append(Mistake(path, f"the path of {pattern.text!r} has no parameter {parameter}"))
    return None
