"""The holder of the counter of a quota."""

from typing import Protocol

from gateway.core.http.client_address import client_network
from gateway.core.quotas.model import Partition


class Bearer(Protocol):
    """Whose requests are counted: a token's record, or what a log says of one."""

    @property
    def lineage(self) -> str:
        """The token whose counters it uses."""
        ...

    @property
    def owner(self) -> str: ...

    @property
    def project(self) -> str: ...

    @property
    def plan(self) -> str: ...


def holder_of(per: Partition, bearer: Bearer | None, address: str) -> str:
    """Return the one whose requests share a counter; `bearer` is None if a public rule counts addresses.

    A token without the owner or project that its policy now binds tokens to shares one counter with all others that
    have none. Raise ValueError if only a token could tell the holder.
    """
    if per == "address":
        return client_network(address)
    if bearer is None:
        raise ValueError(f"a request without a token has no {per}")
    holder: str = getattr(bearer, _NAMES[per])
    return holder


_NAMES = {"token": "lineage", "owner": "owner", "project": "project", "plan": "plan"}
