"""Load all policy files: from their texts to one policy set, or to every mistake of every file."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Refused, decide
from gateway.core.errors import ConfigurationError
from gateway.core.http.problems import PROBLEMS
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import parse_path
from gateway.core.own_addresses import OwnAddresses
from gateway.core.policies.compiler import Compiled, Joining, compile_document, find_credential_fields
from gateway.core.policies.matching import METHOD
from gateway.core.policies.model import Policy, PolicySet, Rule, Upstream
from gateway.core.policies.reading import Mistake, path_to, read_document, unknown_name
from gateway.core.policies.schema import PolicyDocument, TestTable
from gateway.core.tokens.records import TokenRecord
from gateway.core.variants.model import InvalidOptions
from gateway.core.variants.options import parse_variant

PASSES = 200
"""The status a policy's test expects of a request that would be passed on."""


def load_policies(
    texts: Mapping[str, str],
    upstreams: Mapping[str, str] | None = None,
    find_upstream_mistake: Callable[[Upstream], Mistake | None] = lambda _: None,
    own: OwnAddresses | None = None,
) -> PolicySet:
    """Return the set of all files (name to text), which pass their own tests; see Loader."""
    return Loader(upstreams or {}, own).load(texts, find_upstream_mistake)


class _Loaded(NamedTuple):
    """The result of loading a file's text."""

    text: str
    document: PolicyDocument | None
    mistakes: list[Mistake]
    fields: frozenset[bytes]
    """The set's credential fields at its compilation."""
    compiled: Compiled | None
    """None if there is no document."""


class Loader:
    """Loads policy sets, one after the other.

    `upstreams` replaces backends by policy name. A rule for what the gateway answers itself, at its `own` addresses, is
    a mistake. A file is read and compiled again only if its text differs from the load before.
    """

    def __init__(self, upstreams: Mapping[str, str], own: OwnAddresses | None = None) -> None:
        self._upstreams = upstreams
        self._loaded: dict[str, _Loaded] = {}
        self._joining = Joining(own)

    def load(
        self, texts: Mapping[str, str], find_upstream_mistake: Callable[[Upstream], Mistake | None] = lambda _: None
    ) -> PolicySet:
        """Return the set of all files (name to text), which pass their own tests.

        `find_upstream_mistake` checks a backend where core cannot: the files that its TLS names. Raise
        ConfigurationError with every mistake of every file, `file: $.path: message` each.
        """
        read = {file: self._read(file, text) for file, text in texts.items()}
        fields = find_credential_fields(document for document, _ in read.values() if document is not None)
        self._loaded = {file: self._find(file, text, *read[file], fields) for file, text in texts.items()}
        mistakes = {file: list(one.mistakes) for file, one in self._loaded.items()}
        compiled = {file: one.compiled for file, one in self._loaded.items() if one.compiled is not None}
        policies, misunderstood = self._joining.join(compiled)
        for file, found in misunderstood.items():
            mistakes[file] += found
            mistake = find_upstream_mistake(compiled[file].policy.upstream)
            if mistake is not None:
                mistakes[file].append(mistake)
        if not any(mistakes.values()):
            documents = {file: one.document for file, one in self._loaded.items() if one.document is not None}
            mistakes = {file: list(failed_tests(document, policies)) for file, document in documents.items()}
        if any(mistakes.values()):
            raise ConfigurationError(*(f"{file}: {mistake}" for file, found in mistakes.items() for mistake in found))
        return policies

    def _read(self, file: str, text: str) -> tuple[PolicyDocument | None, list[Mistake]]:
        before = self._loaded.get(file)
        is_same = before is not None and before.text == text
        return (before.document, before.mistakes) if before is not None and is_same else read_document(text)

    def _find(
        self,
        file: str,
        text: str,
        document: PolicyDocument | None,
        mistakes: list[Mistake],
        fields: frozenset[bytes],
    ) -> _Loaded:
        before = self._loaded.get(file)
        if before is not None and before.document is document and before.fields == fields:
            return before
        compiled = None if document is None else compile_document(document, self._upstreams, fields)
        return _Loaded(text, document, mistakes, fields, compiled)


def failed_tests(document: PolicyDocument, policies: PolicySet) -> Iterator[Mistake]:
    """Yield a mistake for each of the document's tests whose request gets another status than it expects."""
    policy = policies.policies[document.name]
    for index, test in enumerate(document.tests):
        path = path_to("$.tests", index)
        plan = test.plan if test.plan is not None else next(iter(policy.plans))
        if plan not in policy.plans:
            yield Mistake(f"{path}.plan", unknown_name("plan", plan, policy.plans))
            continue
        unknown = [
            Mistake(path_to(f"{path}.scopes", position), unknown_name("scope", scope, policy.scope_names))
            for position, scope in enumerate(test.scopes or ())
            if scope not in policy.scope_names
        ]
        if unknown:
            yield from unknown
            continue
        outcome = _outcome(test, plan, policy, policies)
        status = PROBLEMS[outcome].status if outcome else PASSES
        if status != test.expect:
            yield Mistake(path, f"{test.request!r} gets {status} ({outcome or 'passes'}), expected {test.expect}")


def _outcome(test: TestTable, plan: str, policy: Policy, policies: PolicySet) -> Reason | None:
    """Return the reason why the tested request is refused, or None if it passes; quotas are assumed to have room."""
    method, _, target = test.request.partition(" ")
    path, _, query = target.partition("?")
    segments = parse_path(path)
    if segments is None or METHOD.fullmatch(method) is None:
        return Reason.MALFORMED_TARGET
    rule = policies.match(policy.hosts[0] if policy.hosts else "", method, segments)
    if rule is None or rule.policy is not policy:
        return Reason.NO_MATCHING_RULE
    if not test.token and not rule.is_public:
        return Reason.MISSING_CREDENTIALS
    verdict = decide(_facts(rule, plan, test, rule.project_of(segments)))
    if isinstance(verdict, Refused):
        return verdict.reason
    invalid = parse_variant(rule.variants, query, segments) if rule.variants else None
    if not isinstance(invalid, InvalidOptions):
        return None
    return Reason.NO_MATCHING_RULE if invalid.in_path else Reason.INVALID_OPTION


def _facts(rule: Rule, plan: str, test: TestTable, asked_project: str) -> AdmissionFacts:
    scopes = rule.policy.own_scopes(rule.policy.scopes if test.scopes is None else test.scopes)
    record = TokenRecord(0, "", rule.policy.name, True, None, None, scopes, plan, "", "", "", "", "", 0)
    if test.project is not None:
        record = msgspec.structs.replace(record, project=test.project)
    request = AdmissionRequest(rule, project=asked_project)
    return AdmissionFacts(request, 0, record, is_revoked=False, is_charged=True, windows=(), stored_heads=())
