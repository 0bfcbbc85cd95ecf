"""Every name the gateway uses in Redis. `gw1` is the version of this layout.

    gw1:{7f}:token:<id>                 the record of a token, a JSON array (core/records.py)
    gw1:{7f}:revoked                    set of ids, kept for ever: nothing resurrects a revoked token
    gw1:{7f}:last_used                  sorted set, id to Unix seconds
    gw1:{7f}:quota:<lineage>            hash, counter to the numbers of its algorithm, such as "<end in ms>:<used>"
    gw1:{7f}:log:<lineage>:<counter>    list, the requests of a moving window, "<ms>:<units>:<all units so far>"
    gw1:project:<policy>:<project>      set of token ids, for listing
    gw1:owner:<policy>:<owner>          set of token ids, for listing
    gw1:export:<kind>:<length>:<who>:<key>   hash of what is stored for a URI, variant to head
    gw1:content:<kind>:<length>:<who>:<key>:<variant>   hash of the content of one of them: digest, content
    gw1:fetch:<kind>:<length>:<who>:<key>:<selection>   who fetches it, or why nobody need wait; ends by itself
    gw1:group:<policy>:<group>          sorted set of the exports in a group, name to the end of their time
    gw1:purged:<policy>:<group>         when the group was last purged, for as long as a fetch may take

A token's id is the beginning of its digest, and 7f the beginning of its id: the braces are a hash tag that keeps all an
admission touches in one slot of a Cluster. A policy's name has no colon, and what follows it is the rest of the name,
so no project or owner can be mistaken for another.
"""

from gateway.core.caching.entries import MARK_LENGTH
from gateway.core.records import TokenRecord
from gateway.core.tokens import bucket_of

VERSION = "gw1"
BUCKET_LENGTH = len(VERSION) + len(":{7f}:")
EXPORT_LENGTH = len(VERSION) + len(":export")


def bucket(token_id: str) -> str:
    """The common beginning of all that concerns one token."""
    return f"{VERSION}:{{{bucket_of(token_id)}}}:"


def token(token_id: str) -> str:
    """The record."""
    return f"{bucket(token_id)}token:{token_id}"


def revoked(token_id: str) -> str:
    """The revocation set that the token would be in."""
    return f"{bucket(token_id)}revoked"


def last_used(token_id: str) -> str:
    """The sorted set of last uses that the token is in."""
    return f"{bucket(token_id)}last_used"


def quotas(token_id: str, lineage: str) -> str:
    """The hash of a lineage's counters."""
    return f"{bucket(token_id)}quota:{lineage}"


def quota_log(token_id: str, lineage: str, counter: str) -> str:
    """The list of a moving window."""
    return f"{bucket(token_id)}log:{lineage}:{counter}"


def all_tokens() -> str:
    """A pattern that matches all records."""
    return f"{VERSION}:{{??}}:token:*"


def indexes(record: TokenRecord) -> list[str]:
    """The sets that list the token."""
    return [
        name
        for who, name in (
            (record.project, project(record.policy, record.project)),
            (record.owner, owner(record.policy, record.owner)),
        )
        if who
    ]


def project(policy: str, project_id: str) -> str:
    """The set of a project's tokens."""
    return f"{VERSION}:project:{policy}:{project_id}"


def owner(policy: str, owner_id: str) -> str:
    """The set of an owner's tokens."""
    return f"{VERSION}:owner:{policy}:{owner_id}"


def export(kind: str, entitlement: str, export_key: str) -> str:
    """A stored export of an entitlement: a project, an owner or a token."""
    return f"{VERSION}:export:{kind}:{len(entitlement.encode())}:{entitlement}:{export_key}"


def content(export_name: str, variant: str) -> str:
    """The content of one variant of a stored export."""
    return f"{VERSION}:content{export_name[EXPORT_LENGTH:]}:{variant}"


def fetch(export_name: str, selection: str) -> str:
    """The lease of who fetches an export for requests that select the same."""
    return f"{VERSION}:fetch{export_name[EXPORT_LENGTH:]}:{selection}"


def group(policy: str, group_name: str) -> str:
    """The index of a group."""
    return f"{VERSION}:group:{policy}:{group_name}"


def purged(policy: str, group_name: str) -> str:
    """The instant at which a group was last purged."""
    return f"{VERSION}:purged:{policy}:{group_name}"


def lua_prelude() -> str:
    """Names and record positions for the scripts, so that they stand in one place each."""
    constants = {
        "BUCKET_LENGTH": BUCKET_LENGTH,
        "EXPORT_LENGTH": EXPORT_LENGTH,
        "MARK_LENGTH": MARK_LENGTH,
        "VERSION": f"'{VERSION}'",
        **{f"RECORD_{field.upper()}": index for index, field in enumerate(TokenRecord.__struct_fields__, start=1)},
    }
    return "".join(f"local {name} = {value}\n" for name, value in constants.items())
