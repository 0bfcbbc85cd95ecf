"""Compile the `[[trust]]` tables of a policy document, run their tests, and find their mistakes."""

from collections.abc import Iterable, Iterator, Mapping

from gateway.core.policies.compile_rules import CompileContext, own_names
from gateway.core.policies.reading import Mistake, path_to, unknown_name
from gateway.core.policies.schema import TrustTable
from gateway.core.quotas.model import parse_duration
from gateway.core.trust.checking import find_mistake
from gateway.core.trust.model import (
    LINEAGES,
    NAMES,
    PARAMETER,
    SHARED_ISSUERS,
    Trust,
    compile_pattern,
    names_tenant,
)

MINIMUM_LIFETIME_SECONDS = 30
MAXIMUM_LIFETIME_SECONDS = 600
"""A job that takes longer exchanges another ID token."""


def compile_trusts(context: CompileContext, names: Mapping[str, str]) -> tuple[Trust, ...]:
    """Return what the document trusts; `names` maps each name of a scope to its own one."""
    document = context.document
    if document.trust and document.token.numbers:
        message = "a policy with numbers keeps every token for ever: it can have no tokens of ten minutes"
        context.mistakes.append(Mistake("$.trust", message))
    return tuple(
        [_compile_trust(context, table, names, path_to("$.trust", index)) for index, table in enumerate(document.trust)]
    )


def _compile_trust(context: CompileContext, table: TrustTable, names: Mapping[str, str], path: str) -> Trust:
    document = context.document
    trust = Trust(
        issuer=table.issuer,
        audiences=frozenset([table.audience] if isinstance(table.audience, str) else table.audience),
        patterns=tuple(
            [(claim, tuple(map(compile_pattern, _values(allowed)))) for claim, allowed in table.claims.items()]
        ),
        scopes=own_names(context, table.scopes, names, f"{path}.scopes"),
        plan=table.plan,
        project=table.project,
        owner=table.owner,
        names=NAMES if table.name is None else (table.name,),
        lineages=LINEAGES if table.lineage is None else (table.lineage,),
        lifetime_seconds=parse_duration(table.lifetime),
    )
    if names and not table.scopes:
        context.mistakes.append(Mistake(f"{path}.scopes", "name the scopes that the tokens have"))
    if table.plan is not None and table.plan not in document.plans:
        context.mistakes.append(Mistake(f"{path}.plan", unknown_name("plan", table.plan, document.plans)))
    bound_to = document.token.bound_to
    if bound_to != "none" and not {"project": table.project, "owner": table.owner}[bound_to]:
        message = f"each token of the policy has {'an owner' if bound_to == 'owner' else 'a project'}: name it"
        context.mistakes.append(Mistake(f"{path}.{bound_to}", message))
    if not MINIMUM_LIFETIME_SECONDS <= trust.lifetime_seconds <= MAXIMUM_LIFETIME_SECONDS:
        message = f"from {MINIMUM_LIFETIME_SECONDS}s to {MAXIMUM_LIFETIME_SECONDS // 60}m are allowed"
        context.mistakes.append(Mistake(f"{path}.lifetime", message))
    context.mistakes += [*_template_mistakes(table, path), *_tenant_mistakes(table, path)]
    context.mistakes += _failed_tests(trust, table, path)
    return trust


def _values(allowed: str | list[str]) -> Iterable[str]:
    return [allowed] if isinstance(allowed, str) else allowed


def _template_mistakes(table: TrustTable, path: str) -> Iterator[Mistake]:
    for key in ("project", "owner", "name", "lineage"):
        template = getattr(table, key)
        if template and set("{}") & set(PARAMETER.sub("", template)):
            message = f"{template!r}: braces are for the name of a claim, such as {{repository}}"
            yield Mistake(f"{path}.{key}", message)


def _tenant_mistakes(table: TrustTable, path: str) -> Iterator[Mistake]:
    """Yield a mistake if everybody who has an account at the issuer would be trusted."""
    if not table.claims:
        yield Mistake(f"{path}.claims", "name at least one claim: otherwise each job of the issuer is trusted")
        return
    naming = SHARED_ISSUERS.get(table.issuer)
    if naming is None or any(
        claim in naming and all(names_tenant(claim, value) for value in _values(allowed))
        for claim, allowed in table.claims.items()
    ):
        return
    message = f"{table.issuer} signs for everybody: name who is trusted, by one of {', '.join(naming)}"
    yield Mistake(f"{path}.claims", f"{message}, such as {naming[0]} = 'acme/website'")


def _failed_tests(trust: Trust, table: TrustTable, path: str) -> Iterator[Mistake]:
    """Yield a mistake for each test of a trust whose claims get another answer than it expects."""
    for index, test in enumerate(table.tests):
        claims = {"aud": sorted(trust.audiences)[0], "sub": "test", **test.claims}
        mistake = find_mistake(trust, claims)
        if (mistake is None) != (test.expect == "granted"):
            why = "all claims match" if mistake is None else f"{mistake.claim} is {mistake.value}: {mistake.problem}"
            given = "refused" if mistake else "granted"
            yield Mistake(path_to(f"{path}.tests", index), f"it is {given} ({why}), expected {test.expect}")
