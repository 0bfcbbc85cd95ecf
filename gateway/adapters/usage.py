"""What others need of usage: to count it, and to show it."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from gateway.core.messages import ResponseHead
from gateway.core.outcomes import Authorized, Refused
from gateway.core.usage import BusyToken, PolicyUsage, StoreMemory, Totals, UsagePoint


class Counting(Protocol):
    """What the exchange does with an answered request."""

    def note(self, outcome: Authorized | Refused, head: ResponseHead) -> None:
        """Counts it in memory; never blocks and never raises."""
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
        """All that was ever counted."""
        ...

    async def memory(self) -> StoreMemory | None:
        """How full Redis is; None where it does not say, and where it does not answer: never StoreUnavailable."""
        ...
