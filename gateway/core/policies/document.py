"""The shape of a policy file: what an operator may write, and nothing else (unknown keys are mistakes).

The JSON Schema of `gateway policy schema` is generated from these structs; their docstrings and descriptions are the
reference that an editor shows.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.core.policies.dialects import Operation
from gateway.core.policies.grammar import END, Backend, Duration, Host, Name, Parameter, ScopeName, Status, Units
from gateway.core.policies.management_table import ManagementTable
from gateway.core.policies.quota_tables import CostTable, QuotaTable
from gateway.core.policies.scope_tables import BundleTable, ScopeTable
from gateway.core.policies.token_table import TokenTable
from gateway.core.policies.upstream_tables import UpstreamTable
from gateway.core.policies.variant_tables import VariantsTable


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TOML table that knows all its keys."""


class PlanTable(Table, frozen=True, kw_only=True):
    """What the tokens of a plan may do, and how often."""

    scopes: list[ScopeName] | None = None
    """Absent: the plan restricts nothing."""
    quotas: dict[str, str | QuotaTable] = {}
    """Name to limit in the grammar of the library limits, such as "100/minute"; joined with the policy's quotas."""


class CacheTable(Table, frozen=True, kw_only=True):
    """How the answers of a rule are kept and shared. What it does not say, the backend's own fields say."""

    fresh: Duration | None = None
    """How long a stored answer is used without asking the backend."""
    stale_while_revalidate: Duration | None = None
    """How much longer it is used at once, while the backend is asked in the background."""
    stale_if_error: Duration | None = None
    """How much longer it stands in while the backend fails: no connection, no answer in time, 500, 502, 503, 504."""
    keep: Duration | None = None
    """How long it is kept after it was fresh, to be asked about and to stand in; absent: as long as it is of use."""
    heuristic: Duration | None = None
    """The most that is guessed where the backend says nothing: a tenth of the time since Last-Modified; absent: 0s."""
    shared_by: Literal["project", "owner", "token", "public"] | None = None
    """Who shares an entry; absent: what the policy's tokens are bound to, and everybody where the rule is public."""
    groups: list[Annotated[str, Meta(min_length=1, max_length=128)]] = []
    """What purges may name, with parameters of the path: "tokenset-{tokenset}"."""
    client_cache_control: Literal["revalidate", "backend"] = "revalidate"
    """What clients are told: to ask for each use, so that revocation is immediate; or the backend's Cache-Control."""


class EtagTable(Table, frozen=True, kw_only=True):
    """How the entity tags of a rule's cached answers are made."""

    ignore: list[str] = []
    """What may change without a new tag: "/json/pointer", "column:NAME", "line:BEGINNING", "element:NAME",
    "attribute:NAME"; in a pointer `*` stands for all items of an array."""
    replace: bool = False
    """Whether the content's tag takes the place of the backend's own; else it is made only where there is none."""


class RuleTable(Table, frozen=True, kw_only=True):
    """Which requests it is for, and what they need."""

    match: str
    """Methods and a path: "GET,POST /api/v1/projects/{project}/**"; `*` stands for any method, GET includes HEAD."""
    scopes: list[ScopeName] = []
    public: bool = False
    """Whether the requests need no token at all."""
    project: Annotated[str, Meta(pattern=r"^\{[a-z][a-z0-9_]*\}" + END)] | None = None
    """The parameter of the path that names a project, such as "{project}": tokens of another one are refused."""
    response_timeout: Duration | None = None
    """How long the backend may take for the response's head; absent: as [upstream] says."""
    idle_timeout: Duration | None = None
    """How long it may be silent between two pieces of content; absent: as [upstream] says."""
    cost: Units | CostTable = 1
    """Units of quota that a request uses, or what it uses by its outcome."""
    quotas: dict[str, str | QuotaTable] = {}
    """Quotas of this rule's requests alone, joined with those of the policy and the plan."""
    cache: CacheTable | None = None
    etag: EtagTable | None = None
    variants: VariantsTable | None = None
    manage: Operation | None = None
    """Answered by the gateway itself: what becomes of tokens under the product's own path."""
    token: Parameter | None = None
    """The parameter of the path that names the token which is shown, changed or ended."""


class TestTable(Table, frozen=True, kw_only=True):
    """A request and the status that the policy gives it, checked whenever the file is loaded."""

    __test__ = False  # pytest: this is no test class

    request: str
    expect: Status
    plan: str | None = None
    scopes: list[ScopeName] | None = None
    """What the token holds; absent: every scope of the policy."""
    project: str | None = None
    """The project that the token is for; absent: the one that the path names."""
    token: bool = True
    """Whether the request carries a token at all."""


class PolicyDocument(Table, frozen=True, kw_only=True):
    """One policy file of the token gateway."""

    name: Name
    hosts: Annotated[list[Host], Meta(min_length=1)] | None = None
    """Host names without port; absent: any host."""
    upstream: Backend | UpstreamTable
    """A URL, or `none` where requests are answered by the app itself (a plugin) or by another proxy (forward-auth)."""
    token: TokenTable
    scopes: dict[ScopeName, str | ScopeTable] = {}
    bundles: dict[Name, BundleTable] = {}
    """What pages offer in the place of single scopes."""
    plans: dict[Name, PlanTable] = {}
    quotas: dict[str, str | QuotaTable] = {}
    rules: Annotated[list[RuleTable], Meta(min_length=1)]
    errors: dict[str, dict[str, Any]] = {}
    """Status or reason to the JSON content that replaces problem details, in the product's own dialect."""
    management: ManagementTable | None = None
    tests: list[TestTable] = []
