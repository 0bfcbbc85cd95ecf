"""What the exchange and the command line need of the outside world."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Protocol

from gateway.core.decision import Asked, Facts
from gateway.core.explanation import Standing
from gateway.core.messages import ContentStream, Field, Response
from gateway.core.policies.rules import Rule
from gateway.core.policies.rules import Upstream as UpstreamAddress
from gateway.core.records import AccessRecord, TokenRecord
from gateway.core.variants.variant import DocumentForm, InvalidOptions, Rendered, Variant


class Admissions(Protocol):
    """The one round trip that a request costs."""

    def admit(self, asked: Asked) -> Awaitable[Facts]:
        """What Redis knows of the token, its quotas charged if all else lets it pass; raises StoreUnavailable."""
        ...


class Exports(Protocol):
    """Stored exports by name. A failing store loses no request: what cannot be read is asked of the backend."""

    def recall(self, name: str, raw_head: bytes) -> bytes | None:
        """The content if it is at hand without IO, under exactly this head."""
        ...

    async def read(self, name: str, raw_head: bytes) -> bytes | None:
        """The content stored under exactly this head, None where it is gone or another one by now."""
        ...

    async def write(self, name: str, raw_head: bytes, content: bytes, keep_milliseconds: int) -> bool:
        """Stores head and content together for `keep_milliseconds`; whether that was done."""
        ...


class Tokens(Protocol):
    """Administration of token records. Every method raises StoreUnavailable when Redis did not acknowledge."""

    async def create(self, record: TokenRecord) -> None:
        """Adds a record; raises ChangeRefused for a token that exists or was revoked."""
        ...

    async def find(self, token_id: str) -> TokenRecord | None:
        """The record of an id."""
        ...

    async def find_all(self, policy: str | None, project: str | None, owner: str | None) -> list[TokenRecord]:
        """The records that agree with what is given, newest first. Without project and owner it scans all tokens."""
        ...

    async def replace(self, old: TokenRecord, new: TokenRecord) -> bool:
        """Puts `new` in the place of `old`, atomically; False when the record is no longer `old` or is revoked."""
        ...

    async def rotate(self, old: TokenRecord, new: TokenRecord, successor: TokenRecord) -> bool:
        """Puts `new` in the place of `old` and adds `successor`, both or neither; False as in `replace`."""
        ...

    async def revoke(self, token_id: str) -> None:
        """Ends a token for good; a second time changes nothing."""
        ...

    async def revoke_lineage(self, token_id: str) -> list[str]:
        """Ends a token with all that it was rotated from and to, at one instant; the ids not revoked before."""
        ...

    async def revoke_all(self, policy: str, project: str | None, owner: str | None) -> list[str]:
        """Ends all tokens of a project or of an owner that exist now, and what they are rotated to meanwhile.

        Gives the ids not revoked before. One instant a bucket, 256 at most: where Redis goes away in between, some are
        revoked, and doing it again revokes the rest.
        """
        ...

    async def are_revoked(self, token_ids: Sequence[str]) -> list[bool]:
        """Whether each of the tokens is revoked."""
        ...

    async def last_uses(self, token_ids: Sequence[str]) -> list[int | None]:
        """The last use of each token in Unix seconds, exact to the policy's resolution."""
        ...

    async def standing(self, token_id: str, rule: Rule | None) -> Standing | None:
        """What an admission under the rule would find of the token, at one instant and without a trace."""
        ...

    async def now(self) -> int:
        """Unix seconds by Redis' clock."""
        ...


class Upstreams(Protocol):
    """The backends."""

    async def send(
        self,
        address: UpstreamAddress,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
    ) -> Response:
        """The backend's answer as it arrives, field names in lower case; raises one of the UpstreamErrors."""
        ...


class Renderer(Protocol):
    """Makes variants of documents."""

    async def render(self, content: bytes, form: DocumentForm, variant: Variant) -> Rendered | InvalidOptions:
        """The variant of the document in `content`; raises BrokenDocument. Other requests are not held up meanwhile."""
        ...


class Streams(Protocol):
    """Answers that are still flowing."""

    def watch(self, token_id: str, content: ContentStream) -> ContentStream:
        """The same content, which breaks off with StreamRevoked when the token is revoked."""
        ...


class FailedCredentials(Protocol):
    """Clients that keep presenting credentials which are not valid."""

    def retry_after(self, address: str) -> int | None:
        """Seconds until the client may present credentials again, None where it may now."""
        ...

    def note(self, address: str) -> None:
        """Counts a credential that was not valid."""
        ...


class AccessLog(Protocol):
    """Where access records go."""

    def append(self, record: AccessRecord) -> None:
        """Takes one record; never blocks and never raises."""
        ...
