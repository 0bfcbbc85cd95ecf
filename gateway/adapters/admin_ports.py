"""The ports of the management of tokens and of the command line, and those of usage: to count it, and to show it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from gateway.core.admission.explanation import Inspection
from gateway.core.errors import ChangeRefused
from gateway.core.policies.model import Policy, Rule
from gateway.core.tokens.audit import AuditEntry, AuditQuery
from gateway.core.tokens.idempotency import KeyClaim
from gateway.core.tokens.owners import OwnerRecord
from gateway.core.tokens.records import TokenRecord
from gateway.core.usage import BusyToken, PolicyUsage, StoreMemory, Totals, UsageKey, UsagePoint


class Tokens(Protocol):
    """Administration of token records. Every method raises StoreUnavailable if Redis did not acknowledge.

    An `entry` goes to the history together with the change, if there is one. For revocations it need not name a token.
    Using a token is no change: a record that was only used meanwhile is still `old`, and keeps its last use.
    """

    async def create(self, record: TokenRecord, entry: AuditEntry | None = None) -> None:
        """Add a record. Raise ChangeRefused for a token that exists or was revoked."""
        ...

    async def create_each(self, created: Sequence[tuple[TokenRecord, AuditEntry]]) -> list[ChangeRefused | None]:
        """Add records as `create` does, many at once; return for each why it was refused, or None."""
        ...

    async def find(self, token_id: str) -> TokenRecord | None:
        """Return the record of an id, or None."""
        ...

    async def find_all(self, policy: str | None, project: str | None, owner: str | None) -> list[TokenRecord]:
        """Return the records that match the given values, newest first, then by name, then by id.

        Without project and owner it scans all tokens.
        """
        ...

    async def find_each(self, token_ids: Sequence[str]) -> list[TokenRecord]:
        """Return the records of the ids that exist."""
        ...

    async def is_seen(self, policy: str | None, project: str | None = None, owner: str | None = None) -> bool:
        """Return whether there ever was a token of this policy, or of any, or a record of one of its owners.

        If a project or an owner is named, return that for this one.
        """
        ...

    async def projects(self, policy: str) -> dict[str, int]:
        """Return the projects for which tokens were ever created, with their numbers of tokens. It scans all names."""
        ...

    async def children(self, token_id: str) -> list[TokenRecord]:
        """Return the children of a token, newest first."""
        ...

    async def made_with(self, token_ids: Sequence[str], most: int | None = None) -> set[str]:
        """Return the ids of tokens created with one of these, including children and those being created now.

        If `most` is given, return at least as many of them, in any order, if they exist.
        """
        ...

    async def replace(self, old: TokenRecord, new: TokenRecord, entry: AuditEntry | None = None) -> bool:
        """Replace `old` by `new`, atomically. Return False if the record is no longer `old` or is revoked."""
        ...

    async def exchange(self, record: TokenRecord, entry: AuditEntry, proof: str, proof_seconds: int, now: int) -> bool:
        """Add the token of a job, or return False if one was added for the same `proof` before: at one instant.

        `proof` is the digest of its ID token, remembered for `proof_seconds`. The record goes a day after the token's
        end.
        """
        ...

    async def rotate(
        self, old: TokenRecord, new: TokenRecord, successor: TokenRecord, entry: AuditEntry | None = None
    ) -> bool:
        """Replace `old` by `new` and add `successor`, both or neither. Return False as in `replace`."""
        ...

    async def revoke(self, token_id: str, entry: AuditEntry | None = None) -> None:
        """Revoke a token for good; a second call changes nothing."""
        ...

    async def revoke_each(self, token_ids: Sequence[str], entry: AuditEntry | None = None) -> list[str]:
        """Revoke several tokens and return the ids not revoked before. An id without a record never gets one."""
        ...

    async def revoke_lineage(self, token_id: str, entry: AuditEntry | None = None) -> list[str]:
        """Revoke a token with all that it was rotated from and to, at one instant.

        Return the ids not revoked before.
        """
        ...

    async def revoke_all(
        self, policy: str, project: str | None, owner: str | None, entry: AuditEntry | None = None
    ) -> list[str]:
        """Revoke all tokens of a project or of an owner that exist now, and what they are rotated to meanwhile.

        Return the ids not revoked before. Each of at most 256 buckets is one instant: if Redis goes away in between,
        some are revoked, and a second call revokes the rest.
        """
        ...

    async def server(self) -> str:
        """Return the name of this run of the Redis server, another one after a restart or a failover.

        It is empty if Redis does not tell.
        """
        ...

    async def keep(self, server: str) -> None:
        """Wait until what was acknowledged before is on Redis' disk, if Redis can tell. Raise NotKept.

        `server` is what `server` returned before the changes: a server that took its place may lack them, and confirms
        what it has. If Redis cannot tell (before 7.2, without an append-only file, or if it leaves the disk to the
        system), return at once.
        """
        ...

    async def are_revoked(self, token_ids: Sequence[str]) -> list[bool]:
        """Return whether each of the tokens is revoked."""
        ...

    async def inspect(self, token_id: str, rule: Rule | None, project: str, address: str = "") -> Inspection | None:
        """Return what an admission under the rule would find about the token, at one instant and without a trace.

        `project` is the one that the path names, empty if it names none; `address` is the client's, for quotas that
        count it.
        """
        ...

    async def now(self) -> int:
        """Return Unix seconds by Redis' clock."""
        ...


class Owners(Protocol):
    """Administration of owners. Every method raises StoreUnavailable if Redis did not acknowledge."""

    async def find(self, policy: str, owner: str) -> OwnerRecord | None:
        """Return the owner's record, or None if the owner is only a name, and restricts nothing."""
        ...

    async def find_each(self, owners: Collection[tuple[str, str]]) -> dict[tuple[str, str], OwnerRecord]:
        """Return the records of owners, each named by policy and id, that have one."""
        ...

    async def find_all(self, policy: str) -> dict[str, OwnerRecord]:
        """Return the records of a policy's owners, by name."""
        ...

    async def plans(self, owners: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return the plans of the owners that have one; each owner is named by policy and id."""
        ...

    async def replace(
        self, policy: str, owner: str, old: OwnerRecord | None, new: OwnerRecord, entry: AuditEntry | None = None
    ) -> bool:
        """Replace `old` by `new`, for the next request of each of the owner's tokens.

        Return False if the record is no longer `old`. If Redis goes away in between, the old record may still apply to
        some tokens: the command fails, and repeating it is enough.
        """
        ...


class Audit(Protocol):
    """The history of changes. Every method raises StoreUnavailable if Redis did not answer."""

    async def append_entry(self, entry: AuditEntry) -> None:
        """Append an entry about a refused change; a change that is made appends its own entry."""
        ...

    async def search(self, query: AuditQuery, limit: int, before: str = "") -> list[AuditEntry]:
        """Return the matching entries, newest first, at most `limit`; `before` is the id of one that was seen."""
        ...


class Claims(Protocol):
    """Names and numbers that no two tokens share. Every method raises StoreUnavailable if Redis did not answer."""

    async def claim_name(self, policy: Policy, record: TokenRecord) -> str | None:
        """Claim the token's name and return the claim, or None if another token has the name.

        For a policy that wants no unique names it is empty.
        """
        ...

    async def find_claim(self, policy: Policy, record: TokenRecord) -> str:
        """Return the claim of the token's name; empty if there is none."""
        ...

    async def release_name(self, policy: Policy, record: TokenRecord, claim: str) -> None:
        """Release the name if its claim is still `claim`."""
        ...

    async def claim_key(self, key: str, fingerprint: str, identity: str) -> KeyClaim:
        """Claim an idempotency key for a request with this `fingerprint` that creates the token; return whose it is."""
        ...

    async def release_key(self, key: str, fingerprint: str, identity: str) -> None:
        """Release a key that has created nothing."""
        ...

    async def give_number(self, policy: Policy, record: TokenRecord) -> TokenRecord:
        """Return the record with a number of its own, if the policy has numbers."""
        ...

    async def find_number(self, policy: str, number: int) -> TokenRecord | None:
        """Return the token of a number, or None."""
        ...


class UsageCounter(Protocol):
    """The counter of answered requests."""

    def count_request(self, key: UsageKey) -> None:
        """Count a request in memory, by what it counts as (usage.build_usage_key); never block and never raise."""
        ...


@runtime_checkable
class Usage(Protocol):
    """The counts of all workers of all nodes, until a second ago. Methods raise StoreUnavailable.

    Hours and days are of UTC, include the current one, and go back no further than usage.MAXIMUM_HOURS.
    """

    async def token_usage(self, identity: str, hours: int) -> tuple[UsagePoint, ...]:
        """Return the requests of a token by the hour, oldest first, including hours without any."""
        ...

    async def tokens_usage(self, identities: Sequence[str], days: int) -> Mapping[str, tuple[UsagePoint, ...]]:
        """Return the requests of each of the tokens by the day, oldest first, in one round trip."""
        ...

    async def policy_usage(self, policy: str, hours: int) -> PolicyUsage:
        """Return the requests of a policy; those that matched no rule are of the policy with the empty name."""
        ...

    async def busiest(self, limit: int, hours: int = 2) -> list[BusyToken]:
        """Return the tokens with the most requests, the busiest first.

        By default these are the requests of two hours, so that a new hour is not empty.
        """
        ...

    async def totals(self) -> Totals:
        """Return the totals of everything counted."""
        ...

    async def memory(self) -> StoreMemory | None:
        """Return how full Redis is, or None if it does not report it or does not answer.

        It never raises StoreUnavailable.
        """
        ...
