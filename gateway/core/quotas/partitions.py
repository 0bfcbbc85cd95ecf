"""The holder of the counter of a quota."""

from gateway.core.http.client_address import client_network
from gateway.core.quotas.model import Partition
from gateway.core.tokens.records import TokenRecord


def holder_of(per: Partition, record: TokenRecord | None, address: str) -> str:
    """Return the one whose requests share a counter; `record` is None if a public rule counts addresses.

    A token without the owner or project that its policy now binds tokens to shares one counter with all others that
    have none. Raise ValueError if only a token could tell the holder.
    """
    if per == "address":
        return client_network(address)
    if record is None:
        raise ValueError(f"a request without a token has no {per}")
    return {"token": record.lineage, "owner": record.owner, "project": record.project, "plan": record.plan}[per]
