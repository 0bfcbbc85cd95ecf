"""The model of policies: compiled from the documents, with everything looked up beforehand.

It includes how a product's own API for tokens speaks (names of fields, which are integers, how it refuses), and the
backend of a policy: where it is, how long it may take, what is changed on the way to it.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

from gateway.core.http.etags import BY_VALUE, TagRule
from gateway.core.http.messages import Field
from gateway.core.http.tracing import NewTrace
from gateway.core.masking import Masking
from gateway.core.policies.grammar import Binding
from gateway.core.policies.matching import Matcher, Pattern
from gateway.core.quotas.costs import Cost
from gateway.core.quotas.model import Quota
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.scopes import Bundle, Scope
from gateway.core.tokens.text import ADMIN_FORMAT, TokenFormat
from gateway.core.trust.model import Trust
from gateway.core.variants.options import VariantRule

Operation: TypeAlias = Literal["list", "create", "show", "update", "delete", "child"]
"""What a rule does with the tokens of the project (or the owner) that the presented token is bound to.

`child` creates a child of the presented token.
"""
NAMED: frozenset[Operation] = frozenset({"show", "update", "delete"})
"""The operations on one token, which the path names."""

FIELDS = (
    "id",
    "name",
    "description",
    "shown",
    "state",
    "is_active",
    "project",
    "owner",
    "plan",
    "scopes",
    "created_at",
    "updated_at",
    "last_used_at",
    "not_before",
    "expires_at",
    "token",
)
"""The fields of a token that an answer can have. `token` is its text, in the answer that creates it."""
CLIENT_FIELDS = frozenset({"name", "description", "is_active", "scopes", "not_before", "expires_at"})
"""The fields that a client can send; the others come from the token that it presents."""

STATUSES: Mapping[str, int] = {
    "invalid": 400,
    "not_grantable": 403,
    "not_found": 404,
    "name_taken": 409,
    "ended": 409,
    "changed_meanwhile": 409,
}
"""The statuses of the codes of refused changes (core/errors.py)."""


class Refusal(msgspec.Struct, frozen=True):
    """A product's own answer to a refused change."""

    status: int
    content: bytes


class TokenApiMapping(msgspec.Struct, frozen=True):
    """How a product names the fields and refusals of its own API for tokens."""

    fields: Mapping[str, str]
    """The FIELDS that are shown, in their order, to the product's names."""
    integers: frozenset[str]
    refusals: Mapping[str, Refusal]
    """The answers by code."""


DEFAULT_MAPPING = TokenApiMapping({name: name for name in FIELDS}, frozenset(), {})
"""The mapping of a policy that defines none."""


CLIENT_HOST = "client"
TARGET_HOST = "target"
"""Replace a host name: the Host that the client sent, or the one of the target's URL."""


UNIX = "unix:"
"""The prefix of a socket's path, which replaces a URL."""


class Tls(msgspec.Struct, frozen=True):
    """How a backend's certificate is verified, and what the gateway presents: files in PEM form, empty for none."""

    ca: str = ""
    """The trusted authorities, which replace the system's."""
    certificate: str = ""
    key: str = ""
    """If empty, it is in the file of the certificate."""
    server_name: str = ""
    """The name that the certificate must have; if empty, the target's host."""

    @property
    def files(self) -> list[str]:
        """The files that are named; empty if the policy uses the system's defaults."""
        return [file for file in (self.ca, self.certificate, self.key) if file]


class HealthCheck(msgspec.Struct, frozen=True):
    """The periodic health check of each target; a target is healthy if it answers with a status below 400."""

    path: str
    interval_seconds: float
    timeout_seconds: float


class Rewrite(msgspec.Struct, frozen=True):
    """The prefix of a path, by its decoded segments, and its replacement for the backend."""

    segments: tuple[str, ...]
    replacement: str
    """A path without a trailing slash; empty for nothing."""


class FieldEdits(msgspec.Struct, frozen=True):
    """Fields that are removed, by their folded names (core/upstream/client_fields.py), and then added."""

    removed: frozenset[bytes]
    added: tuple[Field, ...]

    def __repr__(self) -> str:
        return f"FieldEdits({sorted(self.removed)})"  # a value may be a secret between gateway and backend


class Upstream(msgspec.Struct, frozen=True, cache_hash=True):
    """The backend of a policy's requests, and how they are sent."""

    targets: tuple[str, ...]
    """URLs without a trailing slash, or `unix:` and the path of a socket; all answer alike. Empty if there is none."""
    connect_timeout_seconds: float = 2.0
    """Until there is a connection, including the wait for a free one."""
    response_timeout_seconds: float = 60.0
    """From the request's end to the end of the response's head."""
    idle_timeout_seconds: float = 300.0
    """Between two pieces of the response's content."""
    total_timeout_seconds: float | None = None
    """From the request's beginning to the end of the response."""
    max_connections: int = 1000
    """Connections of one worker to each target."""
    max_waiting: int = 1000
    """Requests that wait for a connection."""
    retries: int = 2
    host: str = TARGET_HOST
    """The Host field: CLIENT_HOST, TARGET_HOST, or a name with or without a port."""
    pass_fields: frozenset[bytes] = frozenset()
    """Fields of clients that are removed by default but pass here, by their names in lower case."""
    health: HealthCheck | None = None
    tls: Tls = Tls()
    rewrite: Rewrite | None = None
    sends_forwarded: bool = False
    """Whether it gets Forwarded (RFC 7239)."""
    new_trace: NewTrace = "sampled"
    """The kind of trace that begins with a request without one."""
    audience: str | None = None
    """The audience of assertions (core/http/assertions.py); empty if they name none; None if none are sent."""
    request_edits: FieldEdits | None = None
    response_edits: FieldEdits | None = None


NO_PLAN = ""
"""The plan of tokens in a policy that has no plans."""

Entitlement = Literal["project", "owner", "token", "public"]


class Scheme(StrEnum):
    """How a field carries a token."""

    BEARER = "bearer"
    """Behind the scheme Bearer (RFC 6750 2.1)."""
    BASIC = "basic"
    """As the password of the scheme Basic (RFC 7617), whatever the user name is."""
    BARE = "bare"
    """As the whole value."""


class CredentialSource(msgspec.Struct, frozen=True, cache_hash=True):
    """A field that carries the credential."""

    field: bytes
    scheme: Scheme


USUAL = frozenset({b"authorization", b"x-api-key"})
"""The fields in which clients send a credential by default."""


class Allotment(msgspec.Struct, frozen=True):
    """The quotas of a request, sorted by partition in the order of quotas.PARTITIONS."""

    quotas: tuple[Quota, ...]
    policy_field: bytes
    """The value of RateLimit-Policy, the same on every answer; empty if there is nothing to announce."""


class Plan(msgspec.Struct, frozen=True):
    """The permissions of a plan's tokens, and their quotas."""

    held: frozenset[str] | None
    """The plan's scopes and all they imply; None if the plan restricts nothing."""
    quotas: tuple[Quota, ...]
    """The quotas for all rules; a rule may add some of its own."""

    def covers(self, scopes: tuple[str, ...]) -> bool:
        """Return whether the plan lets a token use `scopes`."""
        return self.held is None or self.held.issuperset(scopes)


class CacheRule(msgspec.Struct, frozen=True):
    """How a rule's answers are stored. For times that are None, the backend decides."""

    fresh_seconds: int | None
    shared_by: Entitlement
    stale_if_error_seconds: int | None = None
    stale_while_revalidate_seconds: int | None = None
    keep_seconds: int | None = None
    heuristic_seconds: int = 0
    """The longest heuristic freshness if the backend says nothing; 0 for none."""
    groups: tuple[str, ...] = ()
    """Names with parameters of the path in braces."""
    passes_cache_control: bool = False
    """Whether clients get the backend's Cache-Control."""
    may_share: bool = False
    """Whether the operator has said that the entitled share answers (RFC 9111 3.5); else the backend must say it."""


class Policy(msgspec.Struct, frozen=True):
    """One product's policy, shared by its rules."""

    name: str
    hosts: tuple[str, ...]
    """Empty for any host."""
    upstream: Upstream
    token_format: TokenFormat
    credentials: tuple[CredentialSource, ...]
    bound_to: Binding
    has_known_owners: bool
    """Whether each token has an owner with a record."""
    parent_scope: str
    """The scope that a token must hold to have children; empty if none is needed."""
    sign_in_scope: str
    """The scope that a token must hold to sign in to the developer page; if empty, no token of the policy can."""
    scopes: Mapping[str, Scope]
    scope_names: Mapping[str, str]
    """Maps every name of a scope, aliases included, to its own name."""
    scope_grants: Mapping[str, frozenset[str]]
    """For each scope, the scopes that grant it."""
    bundles: Mapping[str, Bundle]
    plans: Mapping[str, Plan]
    """The plans by name; a policy without plans has one, named by the empty string."""
    last_used_resolution_seconds: int
    errors: Mapping[str, bytes]
    """Status or reason to the JSON content of the product's own error format."""
    rule_count: int
    test_count: int
    has_cache: bool = False
    """Whether any rule stores answers, so that writes may invalidate some."""
    quotas: tuple[Quota, ...] = ()
    """The quotas of all plans and all rules."""
    rule_quotas: tuple[Quota, ...] = ()
    """The quotas of one rule each."""
    has_unique_names: bool = False
    """Whether a name is unique among the tokens that are bound to the same."""
    has_numbers: bool = False
    version: str = ""
    """It differs if the file says something else (core/policies/versions.py)."""
    has_own_plans: bool = False
    """Whether a token's own plan overrides its owner's."""
    explains_refusals: bool = False
    """Whether the bearer of a token that no longer works learns why."""
    revokes_leaked: bool = True
    """Whether a token is revoked if it is reported as leaked."""
    management: TokenApiMapping = DEFAULT_MAPPING
    """The mapping of rules that manage tokens."""
    trusts: tuple[Trust, ...] = ()
    """Whose ID tokens are exchanged for tokens of the policy."""
    credential_fields: frozenset[bytes] = USUAL
    """The fields that can hold a token of any policy: none of them reaches a backend."""

    def binding(self, project: str, owner: str) -> str:
        """Return the project or the owner that a token is bound to; empty if tokens are bound to nothing."""
        return {"project": project, "owner": owner, "none": ""}[self.bound_to]

    @property
    def first_plan(self) -> str:
        """The plan of tokens that were given none; empty if the policy has no plans."""
        return next(iter(self.plans))

    def plan_of(self, own: str, owners: str) -> str:
        """Return the plan that counts, of a token's own and its owner's, as tokens.lua does.

        Each may be empty.
        """
        if owners and not (own and self.has_own_plans):
            return owners
        return own or self.first_plan

    def quotas_of(self, plan: str) -> tuple[Quota, ...]:
        """Return all quotas that the tokens of a plan can meet; empty if the policy no longer has the plan."""
        return (*self.plans[plan].quotas, *self.rule_quotas) if plan in self.plans else ()

    def usable_scopes(self) -> set[str]:
        """Return the scopes that tokens of at least one plan may use; others exist only to be refused."""
        return set[str]().union(*(self.scopes if plan.held is None else plan.held for plan in self.plans.values()))

    def own_scopes(self, named: Iterable[str]) -> str:
        """Return the named scopes as records hold them: own names, each once, in their order; unknown names stay."""
        return " ".join(dict.fromkeys(self.scope_names.get(name, name) for name in named))

    def unasked_scopes(self, scopes: Iterable[str]) -> list[str]:
        """Return those of the scopes that a token gets if none are named: all but the one to sign in with."""
        return sorted(set(scopes) - self.scope_grants.get(self.sign_in_scope, frozenset()))

    def effective_scopes(self, grantors: Sequence[str], plan: str) -> str:
        """Return the scopes that all of `grantors` hold and the plan covers.

        If more than the token decides, implied scopes are listed too.
        """
        held = self.plans[plan].held if plan in self.plans else frozenset[str]()
        if held is None and len(grantors) == 1:
            return grantors[0] if len(self.scope_names) == len(self.scopes) else self.own_scopes(grantors[0].split())
        sets = [grantor.split(" ") for grantor in grantors]
        usable = self.scope_grants if held is None else held
        return " ".join(
            sorted(
                scope for scope in usable if not any(self.scope_grants[scope].isdisjoint(grantor) for grantor in sets)
            )
        )


class Rule(msgspec.Struct, frozen=True):
    """A rule of a policy, ready for decisions."""

    policy: Policy
    pattern: Pattern
    scopes: tuple[str, ...]
    granting: tuple[frozenset[str], ...]
    """For each required scope, the scopes that grant it."""
    permitted_plans: frozenset[str]
    """The plans whose scopes cover the rule's."""
    cost: Cost
    cache: CacheRule | None
    upstream: Upstream
    """The policy's backend, with the timeouts of the rule."""
    is_public: bool = False
    """Whether no credential is needed."""
    project_segment: int | None = None
    """The index of the path segment that names the project of the request, or None."""
    etag: TagRule = BY_VALUE
    variants: VariantRule | None = None
    """How its exports are made from one document; None if the backend's answers are passed on unchanged."""
    manage: Operation | None = None
    """What it does with tokens, if the gateway itself answers."""
    token_segment: int | None = None
    """The index of the path segment that names the token."""
    source: str = ""
    """The target that the backend is asked for; if empty, the request's own. Only `document_rule` sets it."""
    script_rule: bytes = b""
    """The rule in JSON, as the admission script reads it."""
    allotments: Mapping[str, Allotment] = {}
    """The quotas of the rule's requests by plan; of a public rule by NO_PLAN."""
    has_leases: bool = False
    """Whether requests in flight are counted for any plan."""
    counts_addresses: bool = False
    """Whether anything is counted by the client's address for any plan."""

    def allotment_of(self, record: TokenRecord | None) -> Allotment | None:
        """Return the quotas of a token's request, or None if the policy no longer has its plan.

        Without a token, return those per address.
        """
        if record is None:
            return self.allotments[NO_PLAN] if self.is_public else None
        return self.allotments.get(record.plan)

    def project_of(self, segments: tuple[str, ...]) -> str:
        """Return the project that a matching path names; empty if the rule binds no project."""
        return "" if self.project_segment is None else segments[self.project_segment]


class PolicySet:
    """All policies at one moment. A request takes one reference and keeps it to its end."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        matchers: Mapping[str | None, Matcher[Rule]],
        rules: Mapping[str, Sequence[Rule]] | None = None,
    ) -> None:
        self.policies = policies
        self.rules = rules or {}
        """By the name of their policy."""
        self.masking = Masking([ADMIN_FORMAT, *(policy.token_format for policy in policies.values())])
        """What looks like a token of any of them."""
        self._matchers = matchers
        # Builds pull the same exports again and again: cache the rules that their requests matched.
        self.match = functools.lru_cache(maxsize=1024)(self._match)

    def rules_of(self, policy: str) -> list[Rule]:
        """Return a policy's rules, sorted by pattern."""
        found = {(rule.policy.name, rule.pattern.text): rule for matcher in self._matchers.values() for rule in matcher}
        return [found[key] for key in sorted(found) if key[0] == policy]

    def _match(self, host: str, method: str, segments: tuple[str, ...]) -> Rule | None:
        """Return the rule for a request.

        If a policy names the host, only such policies match: rules for any host do not.
        """
        matcher = self._matchers.get(host) or self._matchers.get(None)
        rule = matcher.match(method, segments) if matcher else None
        if rule is not None:
            return rule
        # OPTIONS (RFC 9110 9.3.7) lists the options of a rule's variants, for clients that may have its exports.
        offering = self._match(host, "GET", segments) if method == "OPTIONS" else None
        return offering if offering is not None and offering.variants is not None else None


def policies_of(policies: PolicySet, host: str) -> list[Policy]:
    """Return the policies of a host: those that name it, else those of any host."""
    every = policies.policies.values()
    return [policy for policy in every if host in policy.hosts] or [policy for policy in every if not policy.hosts]
