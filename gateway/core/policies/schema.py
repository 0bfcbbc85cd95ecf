"""The shape of a policy file: what an operator may write, and nothing else (unknown keys are mistakes).

The JSON Schema of `gateway policy schema` is generated from these structs; their docstrings and descriptions are the
reference that an editor shows.

What a policy file says of the product's own interface for tokens; part of document.py.

What a policy file says of quotas and of what requests cost; part of document.py.

What a policy file says of scopes; part of document.py.

What a policy file says of its tokens; part of document.py.

What a policy file says of its backend; part of document.py.

What a policy file says of a rule's variants; part of document.py.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.core.http.tracing import NewTrace
from gateway.core.policies.grammar import (
    END,
    Backend,
    BackendHost,
    Binding,
    Duration,
    FieldName,
    FieldValue,
    FilePath,
    Host,
    Name,
    OptionName,
    Parameter,
    PathPrefix,
    Prefix,
    ScopeName,
    Status,
    Units,
    Url,
)
from gateway.core.policies.model import Operation
from gateway.core.quotas.algorithms import AlgorithmName
from gateway.core.quotas.model import MAXIMUM_NUMBER, Partition
from gateway.core.variants.model import DocumentKind, Setting

MemberName = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}" + END, description="Up to 64 letters, digits and underscores")
]


class RefusalTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a change is refused, in the product's own words."""

    status: Annotated[int, Meta(ge=400, le=499)]
    content: dict[str, Any]
    """JSON; a text that is "{detail}" says what is wrong."""


class ManagementTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How rules with `manage` speak of tokens."""

    fields: dict[str, MemberName] = {}
    """Our name of a field to the product's, in the order of its answers; absent: all, under our names."""
    integers: list[str] = []
    """Fields that are told as numbers where they are some."""
    errors: dict[str, RefusalTable] = {}
    """The code of a refusal to its answer; absent: as in `[errors]`, by its status."""


MAXIMUM_CONCURRENT = 10_000
"""Each request in flight is an entry in Redis, a tenth of a kilobyte."""


class QuotaTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quota that is more than a limit of each token in fixed windows."""

    limit: str | None = None
    """In the grammar of the library limits, such as "100/minute"."""
    concurrent: Annotated[int, Meta(ge=1, le=MAXIMUM_CONCURRENT)] | None = None
    """In the place of a limit: how many requests may be in flight at once."""
    algorithm: AlgorithmName | None = None
    """How a limit is counted; absent: fixed-window. moving-window is exact and keeps every request."""
    burst: Annotated[int, Meta(ge=1, le=MAXIMUM_NUMBER)] | None = None
    """With token-bucket: the units that may be taken at once, the limit being the steady rate; absent: the limit."""
    per: Partition = "token"
    """Who shares it: a token with those it is rotated to, an owner, a project, a plan, a client's address."""
    shadow: bool = False
    """Whether it is decided and recorded in the access log only, and never enforced."""


class CostTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request costs by its outcome: the most of these is reserved, and the rest given back after."""

    miss: Units = 1
    """The backend was asked."""
    hit: Units | None = None
    """Answered from the cache; absent: as a miss, and so are the others."""
    not_modified: Units | None = None
    """304: the client has it already."""
    error: Units | None = None
    """The backend failed: no answer, or a status of 500 and more."""
    reported_by: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}" + END, description="A field name, such as X-Request-Cost")]
        | None
    ) = None
    """A field of the backend's answer that says what the request cost it; never more than what is reserved."""


class ScopeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scope with the scopes it implies, its place on pages, and its other names."""

    description: str
    implies: list[ScopeName] = []
    category: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """Under which pages group it; absent: what its name has before the first colon."""
    aliases: list[ScopeName] = []
    """Names that are taken for it wherever scopes are named. What is stored and shown is its own name."""


class BundleTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scopes that are often needed together: pages offer them at one click."""

    description: Annotated[str, Meta(min_length=1, max_length=255)]
    scopes: Annotated[list[ScopeName], Meta(min_length=1)]


class TokenTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the policy's tokens look like and how a client presents them."""

    prefixes: Annotated[list[Prefix], Meta(min_length=1)]
    length: Annotated[int, Meta(ge=27, le=256, description="Characters after the prefix, checksum included")] = 40
    checksum: bool = True
    shown: Annotated[int, Meta(ge=0, le=24, description="Characters of the text kept for display")] | None = None
    """Absent: 12, where shown_random does not say it."""
    shown_random: Annotated[int, Meta(ge=0, le=12)] | None = None
    """In the place of `shown`: the whole prefix and so many characters after it are kept for display."""
    credential: str | Annotated[list[str], Meta(min_length=1)] = "bearer"
    """`bearer`, or `header:NAME`; a list where several are accepted."""
    bound_to: Binding = "project"
    """What each token is for: a project, an owner, or `none` where the product has neither."""
    parent_scope: ScopeName | None = None
    """The scope that a token must hold for child tokens to be made of it; absent: none."""
    sign_in_scope: ScopeName | None = None
    """The scope that a token must hold to sign in to the developer page; absent: only admin tokens sign in. A token
    holds it only if it is named: one that is made without scopes gets all others."""
    known_owners: bool = False
    """Whether each token needs an owner that the gateway was told of; else one without a record bounds nothing."""
    own_plans: bool = False
    """Whether a token's own plan overrides its owner's; else the owner's, if it has one, is that of all its tokens."""
    last_used_resolution: Duration = "1m"
    """The last use of a token is written at most once in this time."""
    unique_names: bool = False
    """Whether a name is given once only among the tokens of a project (or an owner) that are not revoked."""
    numbers: bool = False
    """Whether tokens are counted, for a product whose ids are integers."""


class HealthTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asks each target again and again, and sends no requests to one that does not answer below 400."""

    path: PathPrefix
    """Asked for with GET, as it stands here: behind no prefix, and not rewritten."""
    interval: Duration = "5s"
    timeout: Duration = "2s"


class TlsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How backends of scheme https are known; their certificates are always verified. Files are PEM."""

    ca: FilePath | None = None
    """The authorities that are trusted; absent: those of the system."""
    certificate: FilePath | None = None
    """What the gateway shows of itself."""
    key: FilePath | None = None
    """Its key; absent: it is in the file of the certificate."""
    server_name: Host | None = None
    """The name that certificates must be for; absent: the target's host."""


class RewriteTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replaces the beginning of a path: whole segments of it. What begins in another way is left as it is."""

    prefix: PathPrefix
    """Written decoded, as in a rule's match."""
    replacement: PathPrefix = "/"
    """Absent: the prefix is stripped."""


class FieldsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes field lines. What the gateway itself says cannot be set, nor what is about one connection be changed."""

    set: dict[FieldName, FieldValue] = {}
    remove: list[FieldName] = []


class AssertionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said in assertions."""

    audience: Annotated[str, Meta(min_length=1, max_length=255)]
    """Whom they are for (`aud`): a backend refuses those for another."""


class UpstreamTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backend that a policy's requests are passed on to."""

    url: Url | None = None
    targets: Annotated[list[Url], Meta(min_length=1)] | None = None
    """In the place of `url`: several that answer alike. The one with the fewest requests under way gets the next."""
    connect_timeout: Duration = "2s"
    response_timeout: Duration = "60s"
    """How long the backend may take from the request's end to the end of its response's head. A rule may say more."""
    idle_timeout: Duration = "5m"
    """How long it may be silent between two pieces of content. A rule may say more."""
    total_timeout: Duration | None = None
    """How long request and response may take in all; absent: any time."""
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    """To each target, of each worker."""
    max_waiting: Annotated[int, Meta(ge=0, le=100_000)] = 1000
    """Requests that wait for one of these connections, no longer than connect_timeout; more are answered 503."""
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """How many other targets are tried for a request that no backend can have acted upon."""
    host: BackendHost = "client"
    """The Host field that backends get: `client` for the one that the client sent, `target` for that of the target's
    URL, or a name, with or without a port. Backends build links and redirects from it."""
    pass_fields: list[FieldName] = []
    """Fields of clients that pass although backends may take them for another request than the one that was decided on,
    such as X-Real-IP: by default they are removed. Whoever asks can set them."""
    health: HealthTable | None = None
    tls: TlsTable | None = None
    rewrite: RewriteTable | None = None
    forwarded: bool = False
    """Whether backends get Forwarded (RFC 7239) beside X-Forwarded-For, -Host and -Proto."""
    new_trace: NewTrace = "sampled"
    """What backends are told of a request that is part of no trace: a new one, sampled or not; `none`: nothing."""
    assertion: bool | AssertionTable = False
    """Whether backends get X-Gateway-Assertion: signed, who asks and for what."""
    request_headers: FieldsTable | None = None
    response_headers: FieldsTable | None = None


class OptionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One option of a rule's exports, under the name that it has in the query."""

    sets: Setting | None = None
    """What it chooses; absent: the setting of the option's own name."""
    values: Annotated[list[str], Meta(min_length=1)] | None = None
    """What is allowed; absent: all that there is, of `lang` and `mode` what the document has."""
    default: str | bool | list[str] | None = None
    """Absent: the first of the values; all of `lang` and `status`; the first mode of the document."""
    several: bool = True
    """Of `lang` and `status`: whether a list with commas is allowed. `*` or nothing always stands for all."""
    ignore_case: bool = False
    """Whether the values may be spelled in any case."""
    parameter: Parameter | None = None
    """The parameter of the path that it is, such as "{mode}"; absent: it is in the query."""
    description: str = ""
    """For pages and clients that show the options."""


class VariantsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backend gives one canonical document of JSON, the gateway every variant of it that is asked for."""

    document: DocumentKind
    """What it is about; `gateway policy schema --document` prints what each may have."""
    source: Annotated[str, Meta(pattern=r"^/[!-~]*" + END, description="A path and query in ASCII")] | None = None
    """Where the backend has it, with parameters of the rule's path: "/internal/{project}"; absent: the rule's path."""
    filename: str = "export"
    """Under which browsers save an export, without extension; it may have parameters of the rule's path."""
    names: dict[str, str] = {}
    """Our name of a field of the document, or of the entries in it, to the backend's: `entries = "data.nodes"`."""
    types: dict[str, str] = {}
    """The backend's name of a type of design tokens to the Community Group's: `spacing = "dimension"`."""
    options: dict[OptionName, list[str] | OptionTable] = {}
    """What can be chosen; a list is short for the values. Absent ones are as if not said."""


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
    """Status or reason to the JSON content that replaces problem details, in the product's own format."""
    management: ManagementTable | None = None
    tests: list[TestTable] = []
