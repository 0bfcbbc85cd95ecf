"""Every name the gateway uses in Redis. `gw1` is the version of this layout.

    gw1:{7f}:token:<id>                 the record of a token, a JSON array from its last use on (records.py)
    gw1:{7f}:revoked                    set of ids, kept for ever: nothing resurrects a revoked token
    gw1:{7f}:quota:<lineage>            hash, limit to the numbers of its algorithm, such as "<end in ms>:<used>", or of
                                        several, each behind its mark (scripts/quotas.lua)
    gw1:{7f}:log:<lineage>:<counter>    list, the requests of a moving window, "<ms>:<units>:<all units so far>"
    gw1:{7f}:leases:<lineage>:<counter>  sorted set, a lease for each request in flight to its end in ms
    gw1:quota:<per>:<length>:<policy>:<who>   the same for quotas that an owner, a project, a plan or an address has:
    gw1:log:<per>:<length>:<policy>:<who>:<counter>       <length> is that of <who>, in bytes
    gw1:leases:<per>:<length>:<policy>:<who>:<counter>
    gw1:{7f}:owner:<policy>:<owner>     hash, the owner's record for the tokens of this bucket (core/tokens/owners.py)
    gw1:{7f}:children:<id>              set of ids, the children of a token, for showing them
    gw1:{7f}:made:<id>                  set of ids, the tokens that were made with a token, to end them with it
    gw1:owner:<policy>:<owner>          hash, the owner's record that the buckets have copies of
    gw1:owner:<policy>:<owner>:tokens   hash, token id to nothing, for listing
    gw1:project:<policy>:<project>:tokens    hash, token id to nothing, for listing
    gw1:owners:<policy>                 set of owners that have a record
    gw1:names:<policy>:<who>            hash, name of a token to who has it and since when (tokens.py)
    gw1:numbers:<policy>                hash, number to token id; the last number given, under the name ""
    gw1:idempotency:<digest>            the request under an idempotency key and what it made, for a day
    gw1:{7f}:audit                      stream, the changes of the bucket's tokens (core/tokens/audit.py)
    gw1:audit                           stream, the changes of owners
    gw1:audit:refused                   stream, changes that were asked for and refused
    gw1:export:<kind>:<length>:<who>:<key>   hash of what is stored for a URI, variant to head
    gw1:content:<kind>:<length>:<who>:<key>:<variant>   hash of the content of one of them: digest, content,
                                        and what it was encoded to, by the name of the coding; long content in
                                        pieces (exports.py)
    gw1:staged:<kind>:<length>:<who>:<key>:<variant>:<number>   the same while its pieces are written; ends by itself
    gw1:held:<kind>:<length>:<who>      hash, what an entitlement has stored: <key>:<variant> to its bytes, "" to all
    gw1:ages:<kind>:<length>:<who>      sorted set of the same, by when it was asked for
    gw1:ends:<kind>:<length>:<who>      sorted set of the same, by the end of its time
    gw1:fetch:<kind>:<length>:<who>:<key>:<selection>   the request that fetches it, or why none need wait; expires
    gw1:group:<policy>:<group>          sorted set of the exports in a group, name to the end of their time
    gw1:purged:<policy>:<group>         when the group was last purged, for as long as a fetch may take
    gw1:session:<digest>                a session of the developer page (core/pages/sessions.py); ends by itself
    gw1:session:<digest>:<form>         a form of it that was sent: it makes nothing twice; ends by itself
    gw1:usage:token:<days>:<id>         hash, the requests of a token: hour of these five days to their number
    gw1:usage:policy:<hour>:<policy>    hash, the requests of an hour: what they count as to their number
    gw1:usage:busiest:<hour>            sorted set, the tokens with the most requests in an hour to their number
    gw1:versions                        hash, process to the versions of policies that it serves, and until when
    gw1:marker                          set when the first token is made: without it the data is lost, or Redis is new
    gw1:{ready}:set, gw1:{ready}:stream what a readiness check writes and removes
    gw1:usage:requests, gw1:usage:events    hashes, all that was ever counted

A token's id is the beginning of its digest, and 7f the beginning of its id: the braces are a hash tag that keeps all an
admission touches in one slot of a Cluster. A policy's name has no colon; of a project's or owner's id what could be
mistaken for the end of the name is percent-encoded, but where it is the end.
"""

import re

from gateway.core.cache.model import MARK_LENGTH
from gateway.core.quotas.algorithms import ALGORITHMS
from gateway.core.quotas.model import Partition, Quota
from gateway.core.tokens.records import LAST_USE_OFFSET, LAST_USE_WIDTH, TokenRecord
from gateway.core.tokens.text import bucket_of

VERSION = "gw1"
BUCKET_LENGTH = len(VERSION) + len(":{7f}:")
EXPORT_LENGTH = len(VERSION) + len(":export")
USAGE_HOURS = 5 * 24
"""Hours of a token's usage in one hash: Redis keeps one of up to 128 fields compact."""

AUDIT_LENGTH = 1000
"""Changes that a history keeps, about: of tokens in all 256 times as many."""


def bucket(token_id: str) -> str:
    """Return the common prefix of all keys that concern one token."""
    return f"{VERSION}:{{{bucket_of(token_id)}}}:"


def token(token_id: str) -> str:
    """Return the key of the record."""
    return f"{VERSION}:{{{bucket_of(token_id)}}}:token:{token_id}"


def revoked(token_id: str) -> str:
    """Return the key of the revocation set that the token would be in."""
    return f"{bucket(token_id)}revoked"


def quotas(per: Partition, policy: str, who: str) -> str:
    """Return the key of the hash of a lineage's counters, or of those that others share."""
    return _of_holder("quota", per, policy, who)


def quota_log(per: Partition, policy: str, who: str, counter: str) -> str:
    """Return the key of the list of a moving window."""
    return f"{_of_holder('log', per, policy, who)}:{counter}"


def leases(per: Partition, policy: str, who: str, counter: str) -> str:
    """Return the key of the sorted set of a concurrency limit."""
    return f"{_of_holder('leases', per, policy, who)}:{counter}"


def counter(quota: Quota, policy: str, who: str) -> str:
    """Return the key that has the state of a quota."""
    if quota.is_concurrency:
        return leases(quota.per, policy, who, quota.counter)
    own = ALGORITHMS[quota.algorithm].own_key
    return f"{_of_holder(own, quota.per, policy, who)}:{quota.counter}" if own else quotas(quota.per, policy, who)


def _of_holder(kind: str, per: Partition, policy: str, who: str) -> str:
    if per == "token":
        return f"{bucket(who)}{kind}:{who}"
    return f"{VERSION}:{kind}:{per}:{len(who.encode())}:{policy}:{who}"


def children(token_id: str) -> str:
    """Return the key of the set of a token's children."""
    return f"{bucket(token_id)}children:{token_id}"


def made(token_id: str) -> str:
    """Return the key of the set of the tokens that were made with a token."""
    return f"{bucket(token_id)}made:{token_id}"


def all_tokens() -> str:
    """Return a pattern that matches all records."""
    return f"{VERSION}:{{??}}:token:*"


def indexes(record: TokenRecord) -> list[str]:
    """Return the keys of the hashes that list the token."""
    of_project = [project_tokens(record.policy, record.project)] if record.project else []
    return [*of_project, owner_tokens(record.policy, record.owner)] if record.owner else of_project


def project_tokens(policy: str, project_id: str) -> str:
    """Return the key of the hash of a project's tokens."""
    return f"{VERSION}:project:{policy}:{_encode(project_id)}:tokens"


def owner_tokens(policy: str, owner_id: str) -> str:
    """Return the key of the hash of an owner's tokens."""
    return f"{owner(policy, owner_id)}:tokens"


def owner(policy: str, owner_id: str) -> str:
    """Return the key of an owner's record."""
    return f"{VERSION}:owner:{policy}:{_encode(owner_id)}"


def owner_copy(token_id: str, policy: str, owner_id: str) -> str:
    """Return the key of an owner's record for the tokens of one bucket."""
    return f"{bucket(token_id)}owner:{policy}:{owner_id}"


def owners(policy: str) -> str:
    """Return the key of the set of a policy's owners that have a record."""
    return f"{VERSION}:owners:{policy}"


def all_projects(policy: str) -> str:
    """Return a pattern that matches the lists of a policy's projects."""
    return f"{VERSION}:project:{policy}:*:tokens"


def traces(policy: str | None, project: str | None, owner: str | None) -> list[str]:
    """Return patterns of keys, of which at least one exists if the policy, the project or the owner was ever seen."""
    by = "*" if policy is None else literal(policy)
    if project is not None:
        return [f"{VERSION}:project:{by}:{literal(_encode(project))}:tokens"]
    if owner is not None:
        name = f"{VERSION}:owner:{by}:{literal(_encode(owner))}"
        return [name, f"{name}:tokens"]
    return [f"{VERSION}:owner:{by}:*", f"{VERSION}:project:{by}:*:tokens"]


def literal(text: str) -> str:
    """Return a pattern that matches only the text."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


def project_of_list(policy: str, name: str) -> str:
    """Return the project whose list has this name."""
    encoded = name.removeprefix(f"{VERSION}:project:{policy}:").removesuffix(":tokens")
    return encoded.replace("%3A", ":").replace("%25", "%")


def idempotency(key_digest: str) -> str:
    """Return the key of what a call with an idempotency key has made."""
    return f"{VERSION}:idempotency:{key_digest}"


def token_names(policy: str, bound_to: str) -> str:
    """Return the key of the names that tokens of a project or an owner have, if the policy wants them unique."""
    return f"{VERSION}:names:{policy}:{bound_to}"


def token_numbers(policy: str) -> str:
    """Return the key of the numbers of a policy's tokens."""
    return f"{VERSION}:numbers:{policy}"


def audit(token_id: str = "") -> str:
    """Return the key of the history of a bucket's tokens, or of owners if no token is named."""
    return f"{bucket(token_id)}audit" if token_id else f"{VERSION}:audit"


def refusals() -> str:
    """Return the key of the history of refused changes, which is separate so that it displaces no other history."""
    return f"{VERSION}:audit:refused"


def audits() -> list[str]:
    """Return the keys of all histories."""
    return [*(audit(f"{number:02x}") for number in range(256)), audit(), refusals()]


def export(kind: str, entitlement: str, export_key: str) -> str:
    """Return the key of a stored export of an entitlement: a project, an owner or a token."""
    return f"{VERSION}:export:{kind}:{len(entitlement.encode())}:{entitlement}:{export_key}"


def content(export_name: str, variant: str) -> str:
    """Return the key of the content of one variant of a stored export."""
    return f"{VERSION}:content{export_name[EXPORT_LENGTH:]}:{variant}"


def held(kind: str, entitlement: str) -> list[str]:
    """Return the keys of what an entitlement has stored: bytes, and members by age and by expiry.

    The scripts build these names, too.
    """
    return [f"{VERSION}:{what}:{kind}:{len(entitlement.encode())}:{entitlement}" for what in ("held", "ages", "ends")]


def staged(export_name: str, variant: str, number: str) -> str:
    """Return the key of long content that is being written; it is renamed to the content's key when it is complete."""
    return f"{VERSION}:staged{export_name[EXPORT_LENGTH:]}:{variant}:{number}"


def fetch(export_name: str, selection: str) -> str:
    """Return the key of the lease to fetch an export, for requests that select the same."""
    return f"{VERSION}:fetch{export_name[EXPORT_LENGTH:]}:{selection}"


def group(policy: str, group_name: str) -> str:
    """Return the key of the index of a group."""
    return f"{VERSION}:group:{policy}:{group_name}"


def purged(policy: str, group_name: str) -> str:
    """Return the key of the time at which a group was last purged."""
    return f"{VERSION}:purged:{policy}:{group_name}"


def session(digest: str, form: str = "") -> str:
    """Return the key of a session, by the digest of its id; or of a form that was sent in it, by the form's key."""
    return f"{VERSION}:session:{digest}:{form}" if form else f"{VERSION}:session:{digest}"


def token_usage(token_id: str, hour: int) -> tuple[str, str]:
    """Return the key of the hash with a token's requests of an hour (numbered since 1970), and the field in it."""
    return f"{VERSION}:usage:token:{hour // USAGE_HOURS}:{token_id}", str(hour % USAGE_HOURS)


def policy_usage(policy: str, hour: int) -> str:
    """Return the key of the requests of a policy in an hour."""
    return f"{VERSION}:usage:policy:{hour}:{policy}"


def busiest(hour: int) -> str:
    """Return the key of the tokens with the most requests of an hour."""
    return f"{VERSION}:usage:busiest:{hour}"


def all_requests() -> str:
    """Return the key of the counts of all requests."""
    return f"{VERSION}:usage:requests"


def all_events() -> str:
    """Return the key of the counts of all events in caches."""
    return f"{VERSION}:usage:events"


def marker() -> str:
    """Return the key that exists once a first token was made."""
    return f"{VERSION}:marker"


def versions() -> str:
    """Return the key of the versions of policies that each process serves."""
    return f"{VERSION}:versions"


def ready() -> list[str]:
    """Return the set and the stream that a readiness check writes and removes; `keep` writes to the set, too."""
    return [f"{VERSION}:{{ready}}:set", f"{VERSION}:{{ready}}:stream"]


def lua_prelude() -> str:
    """Return names and record positions as Lua, so that each is defined in one place."""
    constants = {
        "BUCKET_LENGTH": BUCKET_LENGTH,
        "EXPORT_LENGTH": EXPORT_LENGTH,
        "MARK_LENGTH": MARK_LENGTH,
        "LAST_USE_OFFSET": LAST_USE_OFFSET,
        "LAST_USE_WIDTH": LAST_USE_WIDTH,
        "VERSION": f"'{VERSION}'",
        "AUDIT_LENGTH": AUDIT_LENGTH,
        **{f"RECORD_{field.upper()}": index for index, field in enumerate(TokenRecord.__struct_fields__, start=1)},
    }
    return "".join(f"local {name} = {value}\n" for name, value in constants.items())


def _encode(free_id: str) -> str:
    """Return an id that people chose, without the colon that separates the parts of a name."""
    return free_id.replace("%", "%25").replace(":", "%3A")
