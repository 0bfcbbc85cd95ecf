"""Every name the gateway uses in Redis. `gw1` is the version of this layout.

    gw1:{7f}:token:<id>                 the record of a token, a JSON array (core/records.py)
    gw1:{7f}:revoked                    set of ids, kept for ever: nothing resurrects a revoked token
    gw1:{7f}:last_used                  sorted set, id to Unix seconds
    gw1:{7f}:quota:<lineage>            hash, counter to the numbers of its algorithm, such as "<end in ms>:<used>"
    gw1:{7f}:log:<lineage>:<counter>    list, the requests of a moving window, "<ms>:<units>:<all units so far>"
    gw1:{7f}:leases:<lineage>:<counter>  sorted set, a lease for each request in flight to its end in ms
    gw1:quota:<per>:<length>:<policy>:<who>   the same for quotas that an owner, a project, a plan or an address has:
    gw1:log:<per>:<length>:<policy>:<who>:<counter>       <length> is that of <who>, in bytes
    gw1:leases:<per>:<length>:<policy>:<who>:<counter>
    gw1:project:<policy>:<project>      set of token ids, for listing
    gw1:owner:<policy>:<owner>          set of token ids, for listing
    gw1:export:<kind>:<length>:<who>:<key>   hash of a stored export: head, content

A token's id is the beginning of its digest, and 7f the beginning of its id: the braces are a hash tag that keeps all an
admission touches in one slot of a Cluster. A policy's name has no colon, and what follows it is the rest of the name,
so no project or owner can be mistaken for another.
"""

from gateway.core.quotas import Partition, Quota
from gateway.core.records import TokenRecord
from gateway.core.tokens import bucket_of

VERSION = "gw1"
BUCKET_LENGTH = len(VERSION) + len(":{7f}:")


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


def quotas(per: Partition, policy: str, who: str) -> str:
    """The hash of the counters of a lineage, or of others that share them."""
    return _of_holder("quota", per, policy, who)


def quota_log(per: Partition, policy: str, who: str, counter: str) -> str:
    """The list of a moving window."""
    return f"{_of_holder('log', per, policy, who)}:{counter}"


def leases(per: Partition, policy: str, who: str, counter: str) -> str:
    """The sorted set of a concurrency limit."""
    return f"{_of_holder('leases', per, policy, who)}:{counter}"


def counter(quota: Quota, policy: str, who: str) -> str:
    """The key that has the state of a quota."""
    if quota.algorithm == "moving-window":
        return quota_log(quota.per, policy, who, quota.counter)
    if quota.is_concurrency:
        return leases(quota.per, policy, who, quota.counter)
    return quotas(quota.per, policy, who)


def _of_holder(kind: str, per: Partition, policy: str, who: str) -> str:
    if per == "token":
        return f"{bucket(who)}{kind}:{who}"
    return f"{VERSION}:{kind}:{per}:{len(who.encode())}:{policy}:{who}"


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


def lua_prelude() -> str:
    """Names and record positions for the scripts, so that they stand in one place each."""
    constants = {
        "BUCKET_LENGTH": BUCKET_LENGTH,
        "VERSION": f"'{VERSION}'",
        **{f"RECORD_{field.upper()}": index for index, field in enumerate(TokenRecord.__struct_fields__, start=1)},
    }
    return "".join(f"local {name} = {value}\n" for name, value in constants.items())
