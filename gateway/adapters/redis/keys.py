"""Every key that the gateway uses in Redis. `gw1` is the version of this layout.

Below its first sentence, a docstring says of which type a key is and what is in it: one paragraph for each key.
`make reference` makes the table of docs/development/redis-layout.md of these.

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
    """Return the key of the record.

    string: the record of a token, a JSON array (core/tokens/records.py). Its last use is written in place, at most
    once in each resolution.
    """
    return f"{VERSION}:{{{bucket_of(token_id)}}}:token:{token_id}"


def revoked(token_id: str) -> str:
    """Return the key of the revocation set that the token would be in.

    set: the ids of revoked tokens. They are kept for ever: nothing makes a revoked token valid again.
    """
    return f"{bucket(token_id)}revoked"


def quotas(per: Partition, policy: str, who: str) -> str:
    """Return the key of the hash of a lineage's counters, or of those that others share.

    hash: limit to, for each algorithm that has counted it lately, its mark and two or three numbers, such as the end
    of the window and the units used (scripts/quotas.lua). For a moving window only until when it has a list.

    hash: the same, for counters that the tokens of an owner, a project or a plan share, or that a client address
    has.
    """
    return _of_holder("quota", per, policy, who)


def quota_log(per: Partition, policy: str, who: str, counter: str) -> str:
    """Return the key of the list of a moving window.

    list: the requests of a moving window, the oldest first: time in ms, units, all units so far.

    list: the same, for shared counters.
    """
    return f"{_of_holder('log', per, policy, who)}:{counter}"


def leases(per: Partition, policy: str, who: str, counter: str) -> str:
    """Return the key of the sorted set of a concurrency limit.

    sorted set: the requests in flight of a concurrency limit: lease to its end in ms.

    sorted set: the same, for shared counters.
    """
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
    """Return the key of the set of a token's children.

    set: the children of a token, to show them.
    """
    return f"{bucket(token_id)}children:{token_id}"


def made(token_id: str) -> str:
    """Return the key of the set of the tokens that were made with a token.

    set: the ids of what was made with a token, to revoke it with the token.
    """
    return f"{bucket(token_id)}made:{token_id}"


def all_tokens() -> str:
    """Return a pattern that matches all records."""
    return f"{VERSION}:{{??}}:token:*"


def indexes(policy: str, project_id: str, owner_id: str) -> list[str]:
    """Return the keys of the hashes that list a token of a project and an owner, each of which may be empty."""
    of_project = [project_tokens(policy, project_id)] if project_id else []
    return [*of_project, owner_tokens(policy, owner_id)] if owner_id else of_project


def project_tokens(policy: str, project_id: str) -> str:
    """Return the key of the hash of a project's tokens.

    hash: token id to nothing, to list the tokens. No request reads it.
    """
    return f"{VERSION}:project:{policy}:{_encode(project_id)}:tokens"


def owner_tokens(policy: str, owner_id: str) -> str:
    """Return the key of the hash of an owner's tokens.

    hash: token id to nothing, to list the tokens. No request reads it.
    """
    return f"{owner(policy, owner_id)}:tokens"


def owner(policy: str, owner_id: str) -> str:
    """Return the key of an owner's record.

    hash: the owner's record, of which the buckets have copies (core/tokens/owners.py). No request reads it.
    """
    return f"{VERSION}:owner:{policy}:{_encode(owner_id)}"


def owner_copy(token_id: str, policy: str, owner_id: str) -> str:
    """Return the key of an owner's record for the tokens of one bucket.

    hash: the owner's record for the tokens of this bucket: status, version, plan if it has one, scopes by project.
    """
    return f"{bucket(token_id)}owner:{policy}:{owner_id}"


def owners(policy: str) -> str:
    """Return the key of the set of a policy's owners that have a record.

    set: the owners that have a record.
    """
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
    """Return the key of what a call with an idempotency key has made.

    string: what was asked for under an idempotency key, and the token that it made. Expires after a day.
    """
    return f"{VERSION}:idempotency:{key_digest}"


def exchanged(digest: str) -> str:
    """Return the key of an ID token that was exchanged, by the digest of what is signed in it.

    string: the token that a job got for its ID token, so that nobody gets another one for it. Expires when the ID
    token would be refused anyway.
    """
    return f"{VERSION}:exchanged:{digest}"


def job_tokens(lineage: str) -> str:
    """Return the key of the tokens of a lineage that jobs have.

    sorted set: the tokens of a lineage that jobs have, with their project and owner, by the second at which their
    records go: then they go from the lists, too.
    """
    return f"{bucket(lineage)}jobs:{lineage}"


def token_names(policy: str, bound_to: str) -> str:
    """Return the key of the names that tokens of a project or an owner have, if the policy wants them unique.

    hash: token name to id and since when.
    """
    return f"{VERSION}:names:{policy}:{bound_to}"


def token_numbers(policy: str) -> str:
    """Return the key of the numbers of a policy's tokens.

    hash: number to token id, if the policy counts its tokens. The last number is under the empty name.
    """
    return f"{VERSION}:numbers:{policy}"


def audit(token_id: str = "") -> str:
    """Return the key of the history of a bucket's tokens, or of owners if no token is named.

    stream: the history of the bucket's tokens, about a thousand entries (core/tokens/audit.py).

    stream: the history of owners and of purges, about a thousand entries.
    """
    return f"{bucket(token_id)}audit" if token_id else f"{VERSION}:audit"


def refusals() -> str:
    """Return the key of the history of refused changes, which is separate so that it displaces no other history.

    stream: changes that were asked for and refused.
    """
    return f"{VERSION}:audit:refused"


def audits() -> list[str]:
    """Return the keys of all histories."""
    return [*(audit(f"{number:02x}") for number in range(256)), audit(), refusals()]


def export(kind: str, entitlement: str, export_key: str) -> str:
    """Return the key of a stored export of an entitlement: a project, an owner or a token.

    hash: what is stored for a URI: variant to head, at most 16.
    """
    return f"{VERSION}:export:{kind}:{len(entitlement.encode())}:{entitlement}:{export_key}"


def content(export_name: str, variant: str) -> str:
    """Return the key of the content of one variant of a stored export.

    hash: digest, content, and what it was encoded to by the name of the coding. Above 256 KiB in pieces.
    """
    return f"{VERSION}:content{export_name[EXPORT_LENGTH:]}:{variant}"


def held(kind: str, entitlement: str) -> list[str]:
    """Return the keys of what an entitlement has stored: bytes, and members by age and by expiry.

    The scripts build these names, too.

    hash: `<key>:<variant>` to its bytes, and under the empty name the bytes of all.

    sorted set: the same members, by the time at which they were asked for.

    sorted set: the same members, by the end of their time.
    """
    return [f"{VERSION}:{what}:{kind}:{len(entitlement.encode())}:{entitlement}" for what in ("held", "ages", "ends")]


def staged(export_name: str, variant: str, number: str) -> str:
    """Return the key of long content that is being written; it is renamed to the content's key when it is complete.

    hash: content while its pieces are written, for a minute at most.
    """
    return f"{VERSION}:staged{export_name[EXPORT_LENGTH:]}:{variant}:{number}"


def fetch(export_name: str, selection: str) -> str:
    """Return the key of the lease to fetch an export, for requests that select the same.

    string: who asks the backend at the moment; or, briefly, why nobody needs to wait. Expires by itself.
    """
    return f"{VERSION}:fetch{export_name[EXPORT_LENGTH:]}:{selection}"


def group(policy: str, group_name: str) -> str:
    """Return the key of the index of a group.

    sorted set: the exports in a group, each to its end.
    """
    return f"{VERSION}:group:{policy}:{group_name}"


def purged(policy: str, group_name: str) -> str:
    """Return the key of the time at which a group was last purged.

    string: when the group was last purged, for an hour. What was asked for before is not stored.
    """
    return f"{VERSION}:purged:{policy}:{group_name}"


def session(digest: str, form: str = "") -> str:
    """Return the key of a session, by the digest of its id; or of a form that was sent in it, by the form's key.

    string: a form that the session has sent, so that it makes nothing twice. Expires by itself.

    string: a session of the developer page: its token, when it was opened and when it was last used. Expires by
    itself.
    """
    return f"{VERSION}:session:{digest}:{form}" if form else f"{VERSION}:session:{digest}"


def token_usage(token_id: str, hour: int) -> tuple[str, str]:
    """Return the key of the hash with a token's requests of an hour (numbered since 1970), and the field in it.

    hash: the hours of the five days that `<days>` numbers, each to the number of the token's requests. Expires 31
    days after the last.
    """
    return f"{VERSION}:usage:token:{hour // USAGE_HOURS}:{token_id}", str(hour % USAGE_HOURS)


def policy_usage(policy: str, hour: int) -> str:
    """Return the key of the requests of a policy in an hour.

    hash: what requests count as (reason, status class, cache) to their number. Expires after 31 days.
    """
    return f"{VERSION}:usage:policy:{hour}:{policy}"


def busiest(hour: int) -> str:
    """Return the key of the tokens with the most requests of an hour.

    sorted set: the hundred tokens with the most requests of the hour to their number. Expires after 31 days.
    """
    return f"{VERSION}:usage:busiest:{hour}"


def all_requests() -> str:
    """Return the key of the counts of all requests.

    hash: all requests since the beginning, by what they count as: `/metrics` shows them.
    """
    return f"{VERSION}:usage:requests"


def all_events() -> str:
    """Return the key of the counts of all events in caches.

    hash: all events of caches since the beginning: `/metrics` shows them.
    """
    return f"{VERSION}:usage:events"


def alert(identity: str) -> str:
    """Return the key of an alert that a process sends.

    string: an alert that a process sends, so that no other one does, for a day.
    """
    return f"{VERSION}:alert:{identity}"


def alert_window() -> str:
    """Return the key of how far the history was read for alerts.

    string: the Unix second up to which the history was read for alerts.
    """
    return f"{VERSION}:alerts:window"


def leaked() -> str:
    """Return the key of the tokens that were reported as leaked.

    set: the ids of tokens that were reported as leaked. They are kept for ever, like revocations.
    """
    return f"{VERSION}:leaked"


def marker() -> str:
    """Return the key that exists once a first token was made.

    string: set when the first token is made. A store without it has lost its data or is new: unknown tokens are
    503.
    """
    return f"{VERSION}:marker"


def versions() -> str:
    """Return the key of the versions of policies that each process serves.

    hash: process to until when, and the versions of policies that it serves. Forgotten 16 s after it was last heard
    of.
    """
    return f"{VERSION}:versions"


def ready() -> list[str]:
    """Return the set and the stream that a readiness check writes and removes; `keep` writes to the set, too.

    set: what a check of `/-/ready` writes and removes in one script. It also has the mark that the gateway writes
    to learn when a change is in the append-only file.

    stream: what a check of `/-/ready` writes and removes in the same script.
    """
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
