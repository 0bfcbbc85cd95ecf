"""What the management of tokens and the command line need of the outside world.

What others need of usage: to count it, and to show it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from gateway.core.admission.decision import Authorized, Refused
from gateway.core.admission.explanation import Inspection
from gateway.core.http.messages import ResponseHead
from gateway.core.policies.model import Policy, Rule
from gateway.core.tokens.audit import AuditEntry, AuditQuery
from gateway.core.tokens.idempotency import KeyClaim
from gateway.core.tokens.owners import OwnerRecord
from gateway.core.tokens.records import TokenRecord
from gateway.core.usage import BusyToken, PolicyUsage, StoreMemory, Totals, UsagePoint


class Tokens(Protocol):
    """Administration of token records. Every method raises StoreUnavailable when Redis did not acknowledge.

    An `entry` goes to the history together with the change, where there is one. Of revocations it need not say whose.
    Using a token changes nothing: a record that was only used meanwhile is still `old`, and keeps its last use.
    """

    async def create(self, record: TokenRecord, entry: AuditEntry | None = None) -> None:
        """Adds a record; raises ChangeRefused for a token that exists or was revoked."""
        ...

    async def find(self, token_id: str) -> TokenRecord | None:
        """Return the record of an id, or None."""
        ...

    async def find_all(self, policy: str | None, project: str | None, owner: str | None) -> list[TokenRecord]:
        """The records that agree with what is given, newest first, then by name, then by id.

        Without project and owner it scans all tokens.
        """
        ...

    async def find_each(self, token_ids: Sequence[str]) -> list[TokenRecord]:
        """Return the records of the ids that exist."""
        ...

    async def is_seen(self, policy: str | None, project: str | None = None, owner: str | None = None) -> bool:
        """Whether there ever was a token of this policy, or of any, or a record of one of its owners.

        If a project or an owner is named, of that one.
        """
        ...

    async def projects(self, policy: str) -> dict[str, int]:
        """The projects that tokens were ever made for, and how many. It scans all names."""
        ...

    async def children(self, token_id: str) -> list[TokenRecord]:
        """Return the children of a token, newest first."""
        ...

    async def made_with(self, token_ids: Sequence[str], most: int | None = None) -> set[str]:
        """The ids of what was made with one of the tokens, its children and what is just being made included.

        If `most` is given, at least so many of them, any, if there are.
        """
        ...

    async def replace(self, old: TokenRecord, new: TokenRecord, entry: AuditEntry | None = None) -> bool:
        """Puts `new` in the place of `old`, atomically; False when the record is no longer `old` or is revoked."""
        ...

    async def rotate(
        self, old: TokenRecord, new: TokenRecord, successor: TokenRecord, entry: AuditEntry | None = None
    ) -> bool:
        """Puts `new` in the place of `old` and adds `successor`, both or neither; False as in `replace`."""
        ...

    async def revoke(self, token_id: str, entry: AuditEntry | None = None) -> None:
        """Ends a token for good; a second time changes nothing."""
        ...

    async def revoke_each(self, token_ids: Sequence[str], entry: AuditEntry | None = None) -> list[str]:
        """The same of several; the ids not revoked before. An id without a record never gets one."""
        ...

    async def revoke_lineage(self, token_id: str, entry: AuditEntry | None = None) -> list[str]:
        """Ends a token with all that it was rotated from and to, at one instant; the ids not revoked before."""
        ...

    async def revoke_all(
        self, policy: str, project: str | None, owner: str | None, entry: AuditEntry | None = None
    ) -> list[str]:
        """Ends all tokens of a project or of an owner that exist now, and what they are rotated to meanwhile.

        Gives the ids not revoked before. One instant a bucket, 256 at most: where Redis goes away in between, some are
        revoked, and doing it again revokes the rest.
        """
        ...

    async def keep(self) -> None:
        """Waits until what was acknowledged before is on Redis' disk, where Redis can tell; raises NotKept.

        Where it cannot (before 7.2, without an append-only file, if it leaves the disk to the system), at once.
        """
        ...

    async def are_revoked(self, token_ids: Sequence[str]) -> list[bool]:
        """Return whether each of the tokens is revoked."""
        ...

    async def inspect(self, token_id: str, rule: Rule | None, project: str, address: str = "") -> Inspection | None:
        """What an admission under the rule would find of the token, at one instant and without a trace.

        `project` is the one that the path names, empty where it names none; `address` is the client's, for quotas that
        count it.
        """
        ...

    async def now(self) -> int:
        """Return Unix seconds by Redis' clock."""
        ...


class Owners(Protocol):
    """Administration of owners. Every method raises StoreUnavailable when Redis did not acknowledge."""

    async def find(self, policy: str, owner: str) -> OwnerRecord | None:
        """The owner's record; None where the owner is a name only, and restricts nothing."""
        ...

    async def find_all(self, policy: str) -> dict[str, OwnerRecord]:
        """Return the records of a policy's owners, by name."""
        ...

    async def plans(self, owners: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The plans of those of the owners, each named by policy and id, that have one."""
        ...

    async def replace(
        self, policy: str, owner: str, old: OwnerRecord | None, new: OwnerRecord, entry: AuditEntry | None = None
    ) -> bool:
        """Puts `new` in the place of `old`, for the next request of each of the owner's tokens.

        False when the record is no longer `old`. Where Redis goes away in between, the tokens may still go by the old
        record: the command fails, and doing it again is enough.
        """
        ...


class Audit(Protocol):
    """The history of changes. Every method raises StoreUnavailable when Redis did not answer."""

    async def append_entry(self, entry: AuditEntry) -> None:
        """Append what was asked for and refused; a change that is made appends its own entry."""
        ...

    async def search(self, query: AuditQuery, limit: int, before: str = "") -> list[AuditEntry]:
        """The entries that are meant, newest first, at most `limit`; `before` is the id of one that was seen."""
        ...


class Claims(Protocol):
    """Names and numbers that no two tokens have. Every method raises StoreUnavailable when Redis did not answer."""

    async def claim_name(self, policy: Policy, record: TokenRecord) -> str | None:
        """What the index says from now on of the token's name; None where another token has it.

        For a policy that wants no unique names it is empty.
        """
        ...

    async def find_claim(self, policy: Policy, record: TokenRecord) -> str:
        """What the index says of the token's name; empty where it says nothing."""
        ...

    async def release_name(self, policy: Policy, record: TokenRecord, claim: str) -> None:
        """Gives the name up, where the index still says what `claim` says."""
        ...

    async def claim_key(self, key: str, fingerprint: str, identity: str) -> KeyClaim:
        """Who has an idempotency key: a call that asks for what the `fingerprint` says, and makes the token."""
        ...

    async def release_key(self, key: str, fingerprint: str, identity: str) -> None:
        """Gives a key up that has made nothing."""
        ...

    async def give_number(self, policy: Policy, record: TokenRecord) -> TokenRecord:
        """The record with a number of its own, where the policy has numbers."""
        ...

    async def find_number(self, policy: str, number: int) -> TokenRecord | None:
        """The token of a number."""
        ...


class UsageCounter(Protocol):
    """Counts answered requests."""

    def count_request(self, outcome: Authorized | Refused, head: ResponseHead) -> None:
        """Count a request in memory; never block and never raise."""
        ...


@runtime_checkable
class Usage(Protocol):
    """What was counted until a second ago, by all workers of all nodes. Methods raise StoreUnavailable.

    Hours and days are of UTC, include the present one, and go back no further than usage.MAXIMUM_HOURS.
    """

    async def token_usage(self, identity: str, hours: int) -> tuple[UsagePoint, ...]:
        """The requests of a token by the hour, oldest first; hours without any are there too."""
        ...

    async def tokens_usage(self, identities: Sequence[str], days: int) -> Mapping[str, tuple[UsagePoint, ...]]:
        """The requests of each of the tokens by the day, oldest first, in one trip."""
        ...

    async def policy_usage(self, policy: str, hours: int) -> PolicyUsage:
        """The requests of a policy; those that met no rule are of the policy with the empty name."""
        ...

    async def busiest(self, limit: int, hours: int = 2) -> list[BusyToken]:
        """The tokens with the most requests, the busiest first: of two hours, so that a new hour is not empty."""
        ...

    async def totals(self) -> Totals:
        """Return the totals of everything counted."""
        ...

    async def memory(self) -> StoreMemory | None:
        """How full Redis is; None where it does not say, and where it does not answer: never StoreUnavailable."""
        ...
