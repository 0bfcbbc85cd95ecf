"""The shape of a policy file: what an operator may write, and nothing else (unknown keys are mistakes).

The JSON Schema of `gateway policy schema` is generated from these structs; their docstrings and descriptions are the
reference that an editor shows.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.core.quotas import MAXIMUM_NUMBER, Algorithm
from gateway.core.variants.variant import DocumentKind, Setting

_END = r"$(?!\n)"
"""The end of a text also for Python, whose `$` allows a line break after it."""
Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}" + _END, description="A lower-case name, such as tokencraft")
]
ScopeName = Annotated[
    str,
    Meta(pattern=r"^[!#-\[\]-~]{1,128}" + _END, description="A scope-token of RFC 6749 3.3, such as projects:read"),
]
Duration = Annotated[
    str, Meta(pattern=r"^[0-9]{1,9}[smhdw]" + _END, description="A whole number and s, m, h, d or w: 10m")
]
Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://(\[[0-9a-fA-F:.]+\]|[^\s/?#@:\[\]]+)(:[0-9]{1,5})?(/[^\s?#]*)?" + _END,
        description="A URL of scheme http or https, host, port and an optional path prefix",
    ),
]
Host = Annotated[str, Meta(pattern=r"^[a-z0-9.-]{1,253}" + _END, description="A host name in lower case, without port")]
Prefix = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}" + _END, description="Up to 32 letters, digits, hyphens and underscores")
]
OptionName = Annotated[
    str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,23}" + _END, description="Up to 24 letters, digits, - and _")
]
Parameter = Annotated[
    str, Meta(pattern=r"^\{[a-z][a-z0-9_]*\}" + _END, description="A parameter in braces, such as {mode}")
]
Status = Annotated[int, Meta(ge=100, le=599)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TOML table that knows all its keys."""


class UpstreamTable(Table, frozen=True, kw_only=True):
    """The backend that a policy's requests are passed on to."""

    url: Url
    connect_timeout: Duration = "2s"
    response_timeout: Duration = "30s"
    """How long the backend may take until its response head, and then between two pieces of content."""


class TokenTable(Table, frozen=True, kw_only=True):
    """What the policy's tokens look like and how a client presents them."""

    prefixes: Annotated[list[Prefix], Meta(min_length=1)]
    length: Annotated[int, Meta(ge=27, le=256, description="Characters after the prefix, checksum included")] = 40
    checksum: bool = True
    shown: Annotated[int, Meta(ge=0, le=24, description="Characters of the text kept for display")] = 12
    credential: str | Annotated[list[str], Meta(min_length=1)] = "bearer"
    """`bearer`, or `header:NAME`; a list where several are accepted."""
    bound_to: Literal["project", "owner"] = "project"
    last_used_resolution: Duration = "1m"
    """The last use of a token is written at most once in this time."""


class ScopeTable(Table, frozen=True, kw_only=True):
    """A scope with the scopes it implies."""

    description: str
    implies: list[ScopeName] = []


class QuotaTable(Table, frozen=True, kw_only=True):
    """A quota that is not counted in fixed windows."""

    limit: str
    """In the grammar of the library limits, such as "100/minute"."""
    algorithm: Algorithm = "fixed-window"
    """How it is counted; moving-window is exact and keeps every request, sliding-window-counter keeps two numbers."""
    burst: Annotated[int, Meta(ge=1, le=MAXIMUM_NUMBER)] | None = None
    """With token-bucket: the units that may be taken at once, the limit being the steady rate; absent: the limit."""


class PlanTable(Table, frozen=True, kw_only=True):
    """What the tokens of a plan may do, and how often."""

    scopes: list[ScopeName] | None = None
    """Absent: the plan restricts nothing."""
    quotas: dict[str, str | QuotaTable] = {}
    """Name to limit in the grammar of the library limits, such as "100/minute"; joined with the policy's quotas."""


class CacheTable(Table, frozen=True, kw_only=True):
    """How the answers of a rule are kept and shared."""

    fresh: Duration | None = None
    """How long a stored answer is used without asking the backend; absent: as long as the backend's fields say."""
    stale_if_error: Duration | None = None
    """How much longer it stands in while the backend fails: no connection, no answer in time, 500, 502, 503, 504."""
    shared_by: Literal["project", "owner", "token", "public"] | None = None
    """Who shares an entry; absent: what the policy's tokens are bound to, and everybody where the rule is public."""


class OptionTable(Table, frozen=True, kw_only=True):
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


class VariantsTable(Table, frozen=True, kw_only=True):
    """The backend gives one canonical document of JSON, the gateway every variant of it that is asked for."""

    document: DocumentKind
    """What it is about; README has the schema of each."""
    source: Annotated[str, Meta(pattern=r"^/[!-~]*" + _END, description="A path and query in ASCII")] | None = None
    """Where the backend has it, with parameters of the rule's path: "/internal/{project}"; absent: the rule's path."""
    filename: str = "export"
    """Under which browsers save an export, without extension; it may have parameters of the rule's path."""
    names: dict[str, str] = {}
    """Our name of a field of the document, or of the entries in it, to the backend's: `entries = "data.nodes"`."""
    types: dict[str, str] = {}
    """The backend's name of a type of design tokens to the Community Group's: `spacing = "dimension"`."""
    options: dict[OptionName, list[str] | OptionTable] = {}
    """What can be chosen; a list is short for the values. Absent ones are as if not said."""


class RuleTable(Table, frozen=True, kw_only=True):
    """Which requests it is for, and what they need."""

    match: str
    """Methods and a path: "GET,POST /api/v1/projects/{project}/**"; `*` stands for any method, GET includes HEAD."""
    scopes: list[ScopeName] = []
    public: bool = False
    """Whether the requests need no token at all."""
    project: Annotated[str, Meta(pattern=r"^\{[a-z][a-z0-9_]*\}" + _END)] | None = None
    """The parameter of the path that names a project, such as "{project}": tokens of another one are refused."""
    cost: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    cache: CacheTable | None = None
    variants: VariantsTable | None = None


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
    upstream: Url | UpstreamTable
    token: TokenTable
    scopes: dict[ScopeName, str | ScopeTable] = {}
    plans: dict[Name, PlanTable] = {}
    quotas: dict[str, str | QuotaTable] = {}
    rules: Annotated[list[RuleTable], Meta(min_length=1)]
    errors: dict[str, dict[str, Any]] = {}
    """Status or reason to the JSON content that replaces problem details, in the product's own dialect."""
    tests: list[TestTable] = []
