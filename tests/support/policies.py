"""A small policy for tests, and what it makes."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec.structs import replace

from gateway.core.http.targets import parse_path
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import PolicySet, Rule
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import digest, shown_part, token_id

SMALL = """
name = "small"
upstream = "http://127.0.0.1:9001"
[token]
prefixes = ["sml_"]
[scopes]
read = "Read"
write = { description = "Write", implies = ["read"] }
[plans.free]
scopes = ["read"]
quotas = { second = "2/second", minute = "5/minute" }
[plans.pro]
quotas = { minute = "51/minute" }
[plans.open]
[[rules]]
match = "GET /export"
scopes = ["read"]
cache = { fresh = "1m" }
[[rules]]
match = "GET /costly"
scopes = ["read"]
cost = 2
[[rules]]
match = "GET /projects/{project}/content"
project = "{project}"
[[rules]]
match = "GET /published"
public = true
cache = { fresh = "1m" }
[[rules]]
match = "* /**"
scopes = ["write"]
"""


@cache
def small_policies() -> PolicySet:
    """The set with the one small policy; always the same one, for nothing changes it."""
    return load_policies({"small.toml": SMALL})


def small_policy(cache: str) -> str:
    """The text of the small policy whose exports are cached in another way."""
    return SMALL.replace('cache = { fresh = "1m" }', f"cache = {{ {cache} }}", 1)


def rule_for(request: str, policies: PolicySet | None = None) -> Rule:
    """The rule of a request such as "GET /export"."""
    method, _, path = request.partition(" ")
    rule = (policies or small_policies()).match("", method, parse_path(path) or ())
    assert rule is not None
    return rule


def make_record(text: str = "sml_token", **changes: object) -> TokenRecord:
    """A record of the small policy for a token text of one's own."""
    token_digest = digest(text, b"")
    values: dict[str, object] = {
        "last_use": 0,
        "digest": token_digest,
        "policy": "small",
        "is_active": True,
        "not_before": None,
        "expires_at": None,
        "scopes": "read write",
        "plan": "free",
        "lineage": token_id(token_digest),
        "project": "website",
        "owner": "",
        "name": "CI",
        "shown": shown_part(text, small_policies().policies["small"].token_format),
        "created_at": 1_700_000_000,
    }
    return TokenRecord(**{**values, **changes})  # type: ignore[arg-type]  # the values are the record's own


def make_family(records: Sequence[dict[str, Any]]) -> list[TokenRecord]:
    """Tokens of which some are children of the first two, or of one that is not there."""
    made: list[TokenRecord] = []
    for number, changes in enumerate(records):
        values = {name: value for name, value in changes.items() if name != "child_of"}
        record = make_record(f"sml_{number}", **values)
        if changes["child_of"] is not None:
            known = made[changes["child_of"]] if changes["child_of"] < len(made) else make_record("sml_gone")
            moved = known.digest[:2] + record.digest[2:]
            record = replace(record, digest=moved, lineage=known.lineage, parent=token_id(known.digest))
        made.append(record)
    return made
