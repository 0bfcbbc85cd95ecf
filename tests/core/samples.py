"""A policy, its rules, a token and a request that the tests of core share and vary."""

from msgspec.structs import replace

from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized
from gateway.core.http.messages import Field, RequestHead
from gateway.core.policies.loading import load_policies
from gateway.core.policies.matching import parse_pattern
from gateway.core.policies.model import CacheRule, Policy, PolicySet, Rule
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import TokenFormat

NOW = 1_800_000_000
"""Unix seconds."""
NOW_MILLISECONDS = NOW * 1000

SHOP = """
name = "shop"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["shp_"], credential = ["bearer", "header:X-API-Key"] }

[scopes]
read = "Read"
write = { description = "Write", implies = ["read"] }
admin = { description = "All", implies = ["write"] }

[plans.free]
scopes = ["read"]
[plans.pro]
scopes = ["write"]
quotas = { day = "1000/day" }
[plans.all]

[quotas]
minute = "100/minute"

[[rules]]
match = "GET /items/{item}"
scopes = ["read"]
cache = { fresh = "1m" }

[[rules]]
match = "POST /items"
scopes = ["write"]
cost = 10

[errors]
404 = { error = "nothing here" }
insufficient_plan = { error = "upgrade" }
"""

TOKEN_FORMAT = TokenFormat(prefixes=("shp_", "old_"), length=40, checksum=True, shown=12)


def load(text: str) -> PolicySet:
    """The set of one policy file."""
    return load_policies({"policy.toml": text})


def load_shop() -> Policy:
    """The policy that most tests use."""
    return load(SHOP).policies["shop"]


def find_rule(method: str, *segments: str) -> Rule:
    """The rule of the shop's policy for a request."""
    rule = load(SHOP).match("any.example", method, segments)
    assert rule is not None
    return rule


def make_rule(cache: CacheRule | None) -> Rule:
    """A rule without scopes whose answers are kept as `cache` says."""
    return replace(find_rule("GET", "items", "1"), scopes=(), granting=(), cache=cache)


def make_request(*fields: Field, method: str = "GET", path: str = "/items/1", query: str = "") -> RequestHead:
    """A request to the shop."""
    return RequestHead(
        method=method,
        path=path,
        query=query,
        fields=[(b"host", b"shop.example:8080"), *fields],
        scheme="https",
        client="192.0.2.7",
        forwarded_for="192.0.2.7",
        id="request-1",
        host="shop.example",
        authority="shop.example:8080",
        received_at=float(NOW),
    )


RECORD = TokenRecord(
    last_use=0,
    digest="ab" * 32,
    policy="shop",
    is_active=True,
    not_before=None,
    expires_at=None,
    scopes="read write",
    plan="pro",
    lineage="ab" * 12,
    project="website",
    owner="acme",
    name="nightly build",
    shown="shp_0123",
    created_at=NOW - 86400,
)

PATTERN = parse_pattern("GET /items/{item}")


def facts_for(rule: Rule, record: TokenRecord | None = RECORD, project: str = "") -> AdmissionFacts:
    """What an admission under the rule finds of a token with nothing to be said against it."""
    request = AdmissionRequest(rule, record.digest if record else "", project=project)
    return AdmissionFacts(
        request, NOW_MILLISECONDS, record, is_revoked=False, is_charged=True, windows=(), stored_heads=()
    )


def admit(rule: Rule, record: TokenRecord | None = RECORD) -> Authorized:
    """The admission of a request under the rule."""
    return Authorized(rule, facts_for(rule, record))
