"""The shape of a policy file: what an operator may write; unknown keys are mistakes.

The JSON Schema of `gateway policy schema` is generated from these structs; their docstrings and descriptions are the
reference that an editor shows.
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
    Issuer,
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
from gateway.core.variants.model import DocumentKind, NameStyle, Setting

MemberName = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}" + END, description="Up to 64 letters, digits and underscores")
]


class RefusalTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A product's own answer to a refused change."""

    status: Annotated[int, Meta(ge=400, le=499)]
    content: dict[str, Any]
    """The JSON of the answer; a text that is "{detail}" is replaced by what is wrong."""


class ManagementTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How rules with `manage` name the fields of tokens, and how they refuse."""

    fields: dict[str, MemberName] = {}
    """Our name of a field to the product's, in the order of its answers; absent: all, under our names."""
    integers: list[str] = []
    """Fields that are written as numbers if they are numbers."""
    errors: dict[str, RefusalTable] = {}
    """The code of a refusal to its answer; absent: as in `[errors]`, by its status."""


MAXIMUM_TEST_REQUESTS = 10_000
"""How often a test may make its request: each load of the file makes all of them."""
MAXIMUM_CONCURRENT = 10_000
"""Each request in flight is an entry in Redis, of a tenth of a kilobyte."""


class QuotaTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quota with more settings than a limit."""

    limit: str | None = None
    """In the grammar of the library limits, such as "100/minute"."""
    concurrent: Annotated[int, Meta(ge=1, le=MAXIMUM_CONCURRENT)] | None = None
    """Replaces a limit: how many requests may be in flight at once."""
    algorithm: AlgorithmName | None = None
    """How a limit is counted; absent: fixed-window. moving-window is exact and keeps every request."""
    burst: Annotated[int, Meta(ge=1, le=MAXIMUM_NUMBER)] | None = None
    """With token-bucket: the units that may be taken at once, while the limit is the steady rate; absent: the limit."""
    per: Partition = "token"
    """Whose requests share it: a token's with its rotations, an owner's, a project's, a plan's, a client address's."""
    shadow: bool = False
    """Whether it is only decided and recorded in the access log, but never enforced."""


class CostTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cost of a request by its outcome: the most of these is reserved, and the rest is given back later."""

    miss: Units = 1
    """The backend was asked."""
    hit: Units | None = None
    """Answered from the cache; absent: the same as a miss. This holds for the others, too."""
    not_modified: Units | None = None
    """The answer is 304: the client has the content already."""
    error: Units | None = None
    """The backend failed: no answer, or a status of 500 or more."""
    reported_by: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}" + END, description="A field name, such as X-Request-Cost")]
        | None
    ) = None
    """A field of the backend's answer that reports the cost of the request; never more than what is reserved."""


class ScopeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scope with the scopes that it implies, its category on pages, and its other names."""

    description: str
    implies: list[ScopeName] = []
    category: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """The category in which pages group it; absent: the part of its name before the first colon."""
    aliases: list[ScopeName] = []
    """Other names that are accepted wherever scopes are named. Its own name is stored and shown."""


class BundleTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scopes that are often needed together: pages offer them with one click."""

    description: Annotated[str, Meta(min_length=1, max_length=255)]
    scopes: Annotated[list[ScopeName], Meta(min_length=1)]


class TokenTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The format of the policy's tokens, and how a client presents them."""

    prefixes: Annotated[list[Prefix], Meta(min_length=1)]
    """What tokens begin with: the first for new tokens, all of them for tokens that clients present."""
    length: Annotated[int, Meta(ge=27, le=256, description="Characters after the prefix, checksum included")] = 40
    checksum: bool = True
    """Whether the last six characters are a checksum; `false` accepts tokens that were minted elsewhere."""
    shown: Annotated[int, Meta(ge=0, le=24, description="Characters of the text kept for display")] | None = None
    """Absent: 12, unless shown_random is set."""
    shown_random: Annotated[int, Meta(ge=0, le=12)] | None = None
    """Replaces `shown`: the whole prefix and this many characters after it are kept for display."""
    credential: str | Annotated[list[str], Meta(min_length=1)] = "bearer"
    """`bearer`, `header:NAME`, or `basic`, where the token is the password and the user name is ignored; a list if
    several are accepted."""
    bound_to: Binding = "project"
    """What each token is bound to: a project, an owner, or `none` if the product has neither."""
    parent_scope: ScopeName | None = None
    """The scope that a token must hold to have child tokens; absent: none is needed."""
    sign_in_scope: ScopeName | None = None
    """The scope that a token must hold to sign in to the developer page; absent: only admin tokens sign in.

    A token holds it only if it is named: a token that is created without scopes gets all others.
    """
    known_owners: bool = False
    """Whether each token needs an owner with a record; otherwise an owner without one restricts nothing."""
    own_plans: bool = False
    """Whether a token's own plan overrides its owner's; otherwise the owner's plan, if any, is that of its tokens."""
    last_used_resolution: Duration = "1m"
    """The last use of a token is written at most once in this time."""
    unique_names: bool = False
    """Whether a name is unique among the tokens of a project (or an owner) that are not revoked."""
    numbers: bool = False
    """Whether tokens are numbered, for a product whose ids are integers."""


class HealthTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Checks each target periodically, and sends no requests to one that does not answer with a status below 400."""

    path: PathPrefix
    """Requested with GET exactly as written: without a prefix, and not rewritten."""
    interval: Duration = "5s"
    timeout: Duration = "2s"


class TlsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The TLS of backends of scheme https, whose certificates are always verified. Files are PEM."""

    ca: FilePath | None = None
    """The trusted authorities; absent: those of the system."""
    certificate: FilePath | None = None
    """The certificate that the gateway presents."""
    key: FilePath | None = None
    """The key of the certificate; absent: it is in the certificate's file."""
    server_name: Host | None = None
    """The name that certificates must have; absent: the target's host."""


class RewriteTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replaces the prefix of a path, in whole segments. A path with another beginning is left unchanged."""

    prefix: PathPrefix
    """Written decoded, as in a rule's match."""
    replacement: PathPrefix = "/"
    """Absent: the prefix is stripped."""


class FieldsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes field lines, except those about one connection. Fields that the gateway itself sets cannot be set."""

    set: dict[FieldName, FieldValue] = {}
    remove: list[FieldName] = []


class AssertionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of assertions."""

    audience: Annotated[str, Meta(min_length=1, max_length=255)]
    """The audience (`aud`): a backend refuses assertions for another."""


class UpstreamTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backend that a policy's requests are passed on to."""

    url: Url | None = None
    """The URL of the backend; its path is put before that of requests. Absent: `targets` has the URLs."""
    targets: Annotated[list[Url], Meta(min_length=1)] | None = None
    """Replaces `url`: several targets that answer alike. The one with the fewest requests in progress gets the next."""
    connect_timeout: Duration = "2s"
    response_timeout: Duration = "60s"
    """How long the backend may take from the request's end to the end of its response's head.

    A rule may override it.
    """
    idle_timeout: Duration = "5m"
    """How long it may be silent between two pieces of content. A rule may override it."""
    total_timeout: Duration | None = None
    """How long request and response may take in total; absent: no limit."""
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    """Connections of each worker to each target."""
    max_waiting: Annotated[int, Meta(ge=0, le=100_000)] = 1000
    """Requests that wait for a connection, no longer than connect_timeout; more are answered 503."""
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """How many other targets are tried for a request that no backend can have processed."""
    host: BackendHost = "client"
    """The Host field that backends get, from which they build links and redirects.

    It is `client` for the one that the client sent, `target` for that of the target's URL, or a name, with or without a
    port.
    """
    pass_fields: list[FieldName] = []
    """Fields of clients that pass although they can make a backend see another request than the one decided on.

    An example is X-Real-IP. By default they are removed, because any client can set them.
    """
    health: HealthTable | None = None
    tls: TlsTable | None = None
    rewrite: RewriteTable | None = None
    forwarded: bool = False
    """Whether backends get Forwarded (RFC 7239) beside X-Forwarded-For, -Host and -Proto."""
    new_trace: NewTrace = "sampled"
    """The trace of a request that has none: a new one, `sampled` or `unsampled`; `none`: no trace."""
    assertion: bool | AssertionTable = False
    """Whether backends get X-Gateway-Assertion: a signed statement of who asks and for what."""
    request_headers: FieldsTable | None = None
    response_headers: FieldsTable | None = None


class OptionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One option of a rule's exports, under the name that it has in the query."""

    sets: Setting | None = None
    """The setting that it chooses; absent: the setting of the option's own name."""
    values: Annotated[list[str], Meta(min_length=1)] | None = None
    """The allowed values; absent: all that exist, for `lang` and `mode` those of the document."""
    default: str | bool | list[str] | None = None
    """Absent: the first of the values; all of `lang` and `status`; the first mode of the document."""
    several: bool = True
    """For `lang` and `status`: whether a list with commas is allowed. `*` or nothing always stands for all."""
    ignore_case: bool = False
    """Whether the values may be spelled in any case."""
    parameter: Parameter | None = None
    """The parameter of the path that it is, such as "{mode}"; absent: it is in the query."""
    description: str = ""
    """For pages and clients that show the options."""


class CodeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The names in design tokens that are source code, in the formats `swift` and `kotlin`."""

    constants: NameStyle = "camel"
    """The constants: `colorTextLink`, `ColorTextLink` or `color_text_link`."""
    type: Annotated[str, Meta(pattern=r"^(?!(?:Any|Protocol|Self|Type)$)[A-Z][A-Za-z0-9_]{0,63}" + END)] = "Tokens"
    """The enumeration of Swift and the object of Kotlin that the constants are in."""
    package: Annotated[str, Meta(pattern=r"^[a-z][A-Za-z0-9_]*(\.[a-z][A-Za-z0-9_]*)*" + END)] = "tokens"
    """The package of Kotlin."""


class VariantsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backend gives one canonical JSON document, and the gateway makes every requested variant of it."""

    document: DocumentKind
    """The kind of document; `gateway policy schema --document` prints what each may have."""
    source: Annotated[str, Meta(pattern=r"^/[!-~]*" + END, description="A path and query in ASCII")] | None = None
    """The backend's path of it, with parameters of the rule's path: "/internal/{project}"; absent: the rule's path."""
    filename: str = "export"
    """The name under which browsers save an export, without extension; it may have parameters of the rule's path."""
    names: dict[str, str] = {}
    """Our name of a field of the document, or of its entries, to the backend's: `entries = "data.nodes"`."""
    types: dict[str, str] = {}
    """The backend's name of a type of design tokens to the Community Group's: `spacing = "dimension"`."""
    code: CodeTable | None = None
    """The names in source code that is made of design tokens; absent: the object `Tokens` in the package `tokens`."""
    options: dict[OptionName, list[str] | OptionTable] = {}
    """The options that clients can choose; a list is short for the values. Absent ones have their defaults."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TOML table that knows all its keys."""


class PlanTable(Table, frozen=True, kw_only=True):
    """The permissions of a plan's tokens, and their quotas."""

    scopes: list[ScopeName] | None = None
    """Absent: the plan restricts nothing."""
    quotas: dict[str, str | QuotaTable] = {}
    """Name to limit in the grammar of the library limits, such as "100/minute"; added to the policy's quotas."""


class CacheTable(Table, frozen=True, kw_only=True):
    """How the answers of a rule are stored and shared. What it does not set, the backend's own fields determine."""

    fresh: Duration | None = None
    """How long a stored answer is used without asking the backend."""
    stale_while_revalidate: Duration | None = None
    """How much longer it is used at once, while the backend is asked in the background."""
    stale_if_error: Duration | None = None
    """How much longer it is used if the backend fails: no connection, no answer in time, 500, 502, 503, 504."""
    keep: Duration | None = None
    """How long it is kept after it was fresh, for validation and as a stale answer; absent: as long as it is useful."""
    heuristic: Duration | None = None
    """The longest heuristic freshness if the backend sets none: a tenth of the time since Last-Modified; absent: 0s."""
    shared_by: Literal["project", "owner", "token", "public"] | None = None
    """Who shares an entry; absent: what the policy's tokens are bound to, and everybody if the rule is public."""
    groups: list[Annotated[str, Meta(min_length=1, max_length=128)]] = []
    """Names for purges, with parameters of the path: "tokenset-{tokenset}"."""
    client_cache_control: Literal["revalidate", "backend"] = "revalidate"
    """The Cache-Control of clients: to revalidate for each use, so that revocation is immediate; or the backend's."""


class EtagTable(Table, frozen=True, kw_only=True):
    """How the entity tags of a rule's cached answers are made."""

    ignore: list[str] = []
    """What may change without a new tag, as texts of five kinds.

    These are "/json/pointer", "column:NAME", "line:BEGINNING", "element:NAME" and "attribute:NAME"; in a pointer `*`
    stands for all items of an array.
    """
    replace: bool = False
    """Whether the content's tag replaces the backend's own; otherwise it is made only if the backend sends none."""


class RuleTable(Table, frozen=True, kw_only=True):
    """Which requests a rule matches, and what they need."""

    match: str
    """Methods and a path: "GET,POST /api/v1/projects/{project}/**"; `*` stands for any method, GET includes HEAD."""
    scopes: list[ScopeName] = []
    """The scopes that a token needs, all of them; absent: none."""
    public: bool = False
    """Whether the requests need no token at all."""
    project: Annotated[str, Meta(pattern=r"^\{[a-z][a-z0-9_]*\}" + END)] | None = None
    """The parameter of the path that names a project, such as "{project}": tokens of another project are refused."""
    response_timeout: Duration | None = None
    """How long the backend may take for the response's head; absent: as in [upstream]."""
    idle_timeout: Duration | None = None
    """How long it may be silent between two pieces of content; absent: as in [upstream]."""
    cost: Units | CostTable = 1
    """Units of quota that a request uses, or what it uses by its outcome."""
    quotas: dict[str, str | QuotaTable] = {}
    """Quotas of this rule's requests alone, added to those of the policy and the plan."""
    cache: CacheTable | None = None
    etag: EtagTable | None = None
    variants: VariantsTable | None = None
    manage: Operation | None = None
    """Answered by the gateway itself: what the rule does with tokens under the product's own path."""
    token: Parameter | None = None
    """The parameter of the path that names the token to show, change or revoke."""


class TestOwnerTable(Table, frozen=True, kw_only=True):
    """The owner of a tested token, as `gateway owner set` would have told of it."""

    __test__ = False

    status: Literal["active", "blocked"] = "active"
    plan: str = ""
    scopes: list[ScopeName] | None = None
    """The owner's scopes in the project of the request; absent: every scope of the policy."""


class TestTable(Table, frozen=True, kw_only=True):
    """A request and the status that the policies give it, checked whenever the file is loaded."""

    __test__ = False  # pytest: this is no test class

    request: str
    """The method and the target, such as "GET /api/v1/projects/5/export?lang=de"."""
    expect: Status
    """The status of the last answer; 200 if the request is passed on."""
    host: str | None = None
    """Then the rules of all files count, as for a client of this host; absent: the policy's own rules."""
    plan: str | None = None
    """The plan of the token; absent: the policy's first."""
    scopes: list[ScopeName] | None = None
    """The scopes of the token; absent: every scope of the policy."""
    project: str | None = None
    """The project of the token; absent: the one that the path names."""
    token: bool = True
    """Whether the request presents a token at all."""
    requests: Annotated[int, Meta(ge=1, le=MAXIMUM_TEST_REQUESTS)] = 1
    """How often it is made, one after the other, all at one moment."""
    after: str | None = None
    """A duration, such as "60s": that much later it is made once more, and `expect` is the status of that."""
    outcome: Literal["miss", "hit", "not_modified", "error"] | None = None
    """How requests that pass are answered, for costs that depend on it; absent: they cost the most."""
    owner: TestOwnerTable | None = None
    """The owner of the token; absent: it has none."""
    parent_scopes: list[ScopeName] | None = None
    """Then it is a child, of a token with these scopes."""


ClaimName = Annotated[str, Meta(min_length=1, max_length=128)]
ClaimPatterns = str | Annotated[list[str], Meta(min_length=1)]
"""A value, or several of which one is enough; `*` stands for any text without a slash, `**` for any text."""


class TrustTestTable(Table, frozen=True, kw_only=True):
    """Claims of a job and whether it gets a token, checked whenever the file is loaded."""

    claims: dict[ClaimName, Any]
    """The claims of the ID token; absent: the audience is the right one."""
    expect: Literal["granted", "refused"]


class TrustTable(Table, frozen=True, kw_only=True):
    """Jobs of a CI provider that get a token for their ID token; a text such as "{repository}" is a claim of theirs."""

    issuer: Issuer
    """Exactly what ID tokens have as `iss`; its keys are found by its discovery document."""
    audience: str | Annotated[list[str], Meta(min_length=1)]
    """What ID tokens must have as `aud`, or several of which one is enough, such as the gateway's address."""
    claims: dict[ClaimName, ClaimPatterns]
    """What other claims must be: a value, or a list of which one is enough.

    `*` stands for any text without a slash, `**` for any text.
    """
    scopes: list[ScopeName] = []
    """The scopes of the tokens; a job may ask for fewer."""
    plan: str | None = None
    """The plan of the tokens; absent: the owner's, or the first one of the policy."""
    project: str = ""
    """The project of the tokens: "website", or "{repository}"."""
    owner: str = ""
    """Their owner."""
    name: str | None = None
    """Their name; absent: repository, workflow and run, in the words of the provider."""
    lineage: str | None = None
    """Tokens for which this is the same text share one set of counters; absent: those of one repository."""
    lifetime: Duration = "10m"
    """How long a token is valid, ten minutes at most."""
    tests: list[TrustTestTable] = []


class PolicyDocument(Table, frozen=True, kw_only=True):
    """One policy file of the token gateway."""

    name: Name
    hosts: Annotated[list[Host], Meta(min_length=1)] | None = None
    """Host names without port; absent: any host."""
    upstream: Backend | UpstreamTable
    """A URL, or `none` if the app itself answers requests (a plugin) or another proxy does (forward-auth)."""
    token: TokenTable
    scopes: dict[ScopeName, str | ScopeTable] = {}
    bundles: dict[Name, BundleTable] = {}
    """Sets of scopes that pages offer beside single scopes."""
    plans: dict[Name, PlanTable] = {}
    quotas: dict[str, str | QuotaTable] = {}
    rules: Annotated[list[RuleTable], Meta(min_length=1)]
    explain_refusals: bool = False
    """Whether a 401 tells the bearer of a token that it was revoked, has expired, is disabled or not yet valid.

    An unknown token gets the usual answer, so nobody learns anything by guessing.
    """
    on_leak: Literal["revoke", "notify"] = "revoke"
    """What a leak report does: revoke the token with all that was made with it, or only raise an alert."""
    errors: dict[str, dict[str, Any]] = {}
    """Status or reason to the JSON content that replaces problem details, in the product's own format."""
    management: ManagementTable | None = None
    trust: list[TrustTable] = []
    tests: list[TestTable] = []
